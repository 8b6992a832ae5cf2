"""The script that people write for this: imaplib, email, the ORM, a commit a mail, no attachments.

python plain_script.py HOST PORT USER PASSWORD
"""

from __future__ import annotations

import email
import email.policy
import imaplib
import sys
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker


class Base(DeclarativeBase):
    pass


class Mail(Base):
    __tablename__ = "mails"

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(sa.String(500), index=True)
    sender: Mapped[str]
    subject: Mapped[str]
    content: Mapped[str]
    received_at: Mapped[datetime]


def read_text(message: email.message.EmailMessage) -> str:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return ""
    try:
        return str(body.get_content())
    except LookupError:
        return body.get_payload(decode=True).decode("utf-8", "replace")  # type: ignore[union-attr]


def main(host: str, port: str, user: str, password: str) -> None:
    engine = sa.create_engine("sqlite:///mails.db")
    Base.metadata.create_all(engine)
    session_of = sessionmaker(engine)
    imap = imaplib.IMAP4(host, int(port))
    imap.login(user, password)
    imap.select("INBOX", readonly=True)
    _, (numbers,) = imap.search(None, "ALL")
    stored = 0
    for number in numbers.split():
        _, answer = imap.fetch(number, "(BODY.PEEK[])")
        message = email.message_from_bytes(answer[0][1], policy=email.policy.default)
        with session_of() as session:
            message_id = str(message["Message-ID"] or number)
            known = sa.select(Mail).where(Mail.message_id == message_id)
            if session.scalar(known) is None:
                session.add(
                    Mail(
                        message_id=message_id,
                        sender=str(message["From"]),
                        subject=str(message["Subject"]),
                        content=read_text(message),
                        received_at=datetime.now(UTC),
                    )
                )
                session.commit()
        stored += 1
    imap.logout()
    print(stored)


if __name__ == "__main__":
    main(*sys.argv[1:])
