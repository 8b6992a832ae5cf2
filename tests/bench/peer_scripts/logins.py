"""Signs in to each mailbox and out again: logins.py FILE HOST PORT CA PASSWORD THREADS"""

from __future__ import annotations

import json
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imapclient import IMAPClient


def main(accounts: str, host: str, port: str, ca_file: str, password: str, threads: str) -> None:
    def visit(name: str) -> None:
        context = ssl.create_default_context(cafile=ca_file)
        client = IMAPClient(host, int(port), ssl=True, ssl_context=context)
        client.login(name, password)
        client.logout()

    with ThreadPoolExecutor(int(threads)) as pool:
        for _ in pool.map(visit, json.loads(Path(accounts).read_text())):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
