"""manage.py followup preview"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from backend.scripts.cli.commands import company_option, examples, id_argument, json_option
from backend.scripts.cli.terminal import say, show_json

if TYPE_CHECKING:
    from backend.app.operate.preview import Preview


@click.command(
    "preview",
    epilog=examples(
        "followup preview 12", "followup preview 12 --step 3", "followup preview 12 --eml mail.eml"
    ),
)
@id_argument("followup_id")
@click.option("--step", type=click.IntRange(1, 20), help="Which step; by default the next.")
@click.option(
    "--eml",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the whole mail to this file, HTML and attachment included, for a mail program.",
)
@company_option()
@json_option
def preview(
    followup_id: int, step: int | None, eml: Path | None, company_id: int | None, as_json: bool
) -> None:
    """Show the mail or text message of a step as it would go out today. Nothing is sent.

    Of a text message it tells the encoding and the segments, which are what it costs.
    """
    from backend.app import db
    from backend.app.errors import BadInput, StorageFault
    from backend.app.operate.preview import preview_step
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        documents = installation.settings.documents_dir
        found = db.read(preview_step, company_id, followup_id, step, db.utc_now(), documents)
    if eml is not None:
        if found.channel != "email":
            raise BadInput(f"step {found.step} is a text message, which no mail program shows")
        try:
            eml.write_bytes(found.raw)
        except OSError as error:
            raise StorageFault(f"{eml} cannot be written: {error.strerror}") from error
    if as_json:
        show_json({name: getattr(found, name) for name in found.__slots__ if name != "raw"})
    else:
        _say(found)


def _say(found: Preview) -> None:
    say(f"step        {found.step}")
    if found.with_followups:
        say(f"together    with follow-up {', '.join(map(str, found.with_followups))}")
    say(f"From        {found.sender}")
    say(f"To          {found.recipient}")
    if found.reply_to:
        say(f"Reply-To    {found.reply_to}")
    if found.subject:
        say(f"Subject     {found.subject}")
    if found.segments is not None:
        dear = f", because of {' '.join(found.expensive)}" if found.expensive else ""
        say(f"segments    {found.segments}, in {found.encoding}{dear}")
    for name in found.attachments:
        say(f"attachment  {name}")
    if found.references:
        say(f"thread      answers the conversation's last mail; references: {found.references}")
    say("")
    for line in found.text.rstrip("\n").split("\n"):
        say(line)
