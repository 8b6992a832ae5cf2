"""Signs in to each mailbox and out again: sequential_logins.py FILE HOST PORT CA PASSWORD"""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path

from imapclient import IMAPClient


def main(accounts: str, host: str, port: str, ca_file: str, password: str) -> None:
    for name in json.loads(Path(accounts).read_text()):
        context = ssl.create_default_context(cafile=ca_file)
        client = IMAPClient(host, int(port), ssl=True, ssl_context=context)
        client.login(name, password)
        client.logout()


if __name__ == "__main__":
    main(*sys.argv[1:])
