"""The least that sending can cost: one connection, no record: smtplib_loop.py HOST PORT N STEP"""

from __future__ import annotations

import smtplib
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

TEXT = "Bonjour,\n\nSauf erreur de notre part, la facture reste impayée.\n\nCordialement,\n" * 4


def main(host: str, port: str, mails: str, step: str) -> None:
    if step == "prepare":
        return
    with smtplib.SMTP(host, int(port)) as smtp:
        for number in range(int(mails)):
            mail = EmailMessage()
            mail["From"] = "Claire Dubois <contact@atelier.example>"
            mail["To"] = f"client{number}@client.example"
            mail["Subject"] = "Facture F-2026-012"
            mail["Date"] = formatdate()
            mail["Message-ID"] = make_msgid(domain="atelier.example")
            mail.set_content(TEXT)
            smtp.send_message(mail)


if __name__ == "__main__":
    main(*sys.argv[1:])
