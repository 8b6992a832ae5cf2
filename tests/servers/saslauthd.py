"""The one password of a test server, for Cyrus: what its libsasl2 asks saslauthd(8).

    python -m tests.servers.saslauthd SOCKET PASSWORD

A request is four counted strings (user, password, service, realm), an answer is one: OK or NO.
"""

from __future__ import annotations

import hmac
import os
import socketserver
import struct
import sys
from typing import IO


def serve(path: str, password: bytes) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            _, given, _, _ = (_read(self.rfile) for _ in range(4))
            word = b"OK" if hmac.compare_digest(given, password) else b"NO"
            self.wfile.write(struct.pack("!H", len(word)) + word)

    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        os.chmod(path, 0o666)  # Cyrus runs as another user
        server.serve_forever()


def _read(stream: IO[bytes]) -> bytes:
    (length,) = struct.unpack("!H", stream.read(2))
    return stream.read(length)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2].encode())
