"""Mails that come back after a reminder."""

from __future__ import annotations

from typing import Any

from tests.followups.office import Office
from tests.installation import mail


def reply(office: Office, reminder: Any, **headers: str) -> bytes:
    """The client's own answer, as mail programs thread it. reminder: its outbox row."""
    return mail(
        sender=f"Jean Petit <{reminder.recipient}>",
        to=office.account.address,
        subject=f"Re: {reminder.subject}",
        text="C'est payé depuis hier.\r\n",
        In_Reply_To=f"<{reminder.message_id}>",
        References=f"<{reminder.message_id}>",
        **headers,
    )


def out_of_office(office: Office, reminder: Any) -> bytes:
    return reply(office, reminder, Auto_Submitted="auto-replied")


def newsletter(office: Office, reminder: Any) -> bytes:
    """From the client's address, to everybody."""
    return mail(
        sender=reminder.recipient,
        to=office.account.address,
        subject="Nos offres",
        List_Unsubscribe="<https://client.test/u>",
        Precedence="bulk",
    )


def another_matter(office: Office, reminder: Any) -> bytes:
    """The same client, in a conversation of its own."""
    return mail(sender=reminder.recipient, to=office.account.address, subject="Tout autre chose")


def stranger(office: Office, _reminder: Any) -> bytes:
    return mail(sender="other@elsewhere.test", to=office.account.address, subject="Bonjour")


def meddler(office: Office, reminder: Any) -> bytes:
    """Somebody who has no part in it names the reminder's Message-ID."""
    return mail(
        sender="mallory@elsewhere.test",
        to=office.account.address,
        subject=f"Re: {reminder.subject}",
        In_Reply_To=f"<{reminder.message_id}>",
    )


def complaint(office: Office, reminder: Any) -> bytes:
    """A feedback report (RFC 5965): the client pressed the button for unwanted mail."""
    return "\r\n".join(
        [
            "From: Feedback <feedback@mx.client.test>",
            f"To: {office.account.address}",
            "Subject: FW: a mail that was not wanted",
            f"Message-ID: <complaint-{reminder.message_id}>",
            "MIME-Version: 1.0",
            'Content-Type: multipart/report; report-type=feedback-report; boundary="b"',
            "",
            "--b",
            "Content-Type: text/plain",
            "",
            "This is an abuse report.",
            "--b",
            "Content-Type: message/feedback-report",
            "",
            "Feedback-Type: abuse",
            "User-Agent: Button/1.0",
            "Version: 1",
            "--b",
            "Content-Type: text/rfc822-headers",
            "",
            f"Message-ID: <{reminder.message_id}>",
            f"To: {reminder.recipient}",
            "--b--",
            "",
        ]
    ).encode()


def bounce(office: Office, reminder: Any) -> bytes:
    """A delivery status notification (RFC 3464) of a mail that could not be delivered."""
    return "\r\n".join(
        [
            "From: Mail Delivery System <MAILER-DAEMON@mx.client.test>",
            f"To: {office.account.address}",
            "Subject: Undelivered Mail Returned to Sender",
            f"Message-ID: <bounce-{reminder.message_id}>",
            "Date: Tue, 24 Nov 2026 09:00:00 +0000",
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
            "",
            "--b",
            "Content-Type: text/plain",
            "",
            "The mail system could not deliver your message.",
            "--b",
            "Content-Type: message/delivery-status",
            "",
            "Reporting-MTA: dns; mx.client.test",
            "",
            f"Final-Recipient: rfc822; {reminder.recipient}",
            "Action: failed",
            "Status: 5.1.1",
            "Diagnostic-Code: smtp; 550 5.1.1 User unknown",
            "",
            "--b",
            "Content-Type: text/rfc822-headers",
            "",
            f"Message-ID: <{reminder.message_id}>",
            "",
            "--b--",
            "",
        ]
    ).encode()
