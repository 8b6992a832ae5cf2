"""manage.py mail"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from backend.scripts.cli.commands import examples, fail, json_option
from backend.scripts.cli.terminal import clean_block, plain, say, show_json

if TYPE_CHECKING:
    from backend.app.mail.message import Address, Classification, ParsedMail

MOST_BYTES = 200 * 1024 * 1024


@click.group(epilog=examples("mail show message.eml"))
def command() -> None:
    """What is made of one mail."""


@command.command(
    "show", epilog=examples("mail show message.eml", "mail show --json - < message.eml")
)
@click.argument("file", type=click.File("rb"))
@click.option("--own", multiple=True, metavar="ADDRESS", help="An address of ours; repeatable.")
@json_option
def show(file: BinaryIO, own: tuple[str, ...], as_json: bool) -> None:
    """Show what the parser and the classifier make of a mail in FILE ('-': standard input).

    Needs neither database nor key, and stores nothing.
    """
    from backend.app.mail.classify import classify
    from backend.app.mail.message import address_key
    from backend.app.mail.parse import parse_mail

    raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        fail(f"the file has more than {MOST_BYTES} bytes")
    mail = parse_mail(raw)
    classification = classify(mail, frozenset(address_key(address) for address in own))
    if as_json:
        show_json(mail_object(mail, classification))
    else:
        _say_mail(mail, classification)


def mail_object(mail: ParsedMail, classification: Classification) -> dict[str, Any]:
    """The fields of ParsedMail and Classification; an attachment's bytes as size and SHA-256."""
    attachments = [
        {
            "filename": file.filename,
            "content_type": file.content_type,
            "content_id": file.content_id,
            "inline": file.inline,
            "size": len(file.content),
            "sha256": hashlib.sha256(file.content).hexdigest(),
        }
        for file in mail.attachments
    ]
    names = [name for name in type(mail).__dataclass_fields__ if name != "attachments"]
    values = {name: plain(getattr(mail, name)) for name in names}
    return {
        **values,
        "attachments": attachments,
        "classification": plain(classification),
    }


def _say_mail(mail: ParsedMail, classification: Classification) -> None:
    made_up = " (made from the content: the mail has none)" if mail.synthetic_id else ""
    for name, value in (
        ("kind", f"{classification.kind} ({classification.reason}){_details(classification)}"),
        ("from", _addresses((mail.sender,) if mail.sender else ())),
        ("reply-to", _addresses(mail.reply_to)),
        ("to", _addresses(mail.to)),
        ("cc", _addresses(mail.cc)),
        ("subject", mail.subject),
        ("date", mail.date.isoformat() if mail.date else "none"),
        ("message-id", mail.message_id + made_up),
        ("in-reply-to", " ".join(mail.in_reply_to)),
        ("references", " ".join(mail.references)),
        ("size", f"{mail.size} bytes"),
    ):
        if value:
            say(f"{name:<12} {value}")
    for file in mail.attachments:
        place = "inline" if file.inline else "attached"
        say(f"{place:<12} {file.filename} {file.content_type} {len(file.content)} bytes")
    for note in mail.notes:
        say(f"{'note':<12} {note}")
    if block := clean_block(mail.reply_text, indent="  | "):
        click.echo(block)
    if mail.reply_text != mail.text:
        say("  (and what it quotes)")


def _details(classification: Classification) -> str:
    bounce = classification.bounce
    if bounce is not None:
        hardness = "hard" if bounce.hard else "soft"
        return f"; {hardness}, of {bounce.recipient or 'nobody named'} {bounce.status or ''}"
    return f"; back on {classification.back_on}" if classification.back_on else ""


def _addresses(addresses: tuple[Address, ...]) -> str:
    return ", ".join(f"{each.name} <{each.email}>".strip() for each in addresses)
