"""manage.py restored"""

from __future__ import annotations

import click

from backend.scripts.cli.commands import examples, json_option
from backend.scripts.cli.terminal import local_time, say, say_wrapped, show_json


@click.command(
    epilog=examples(
        "restored",
        "restored --begin",
        "followup release --company 1 --reason restored",
        "restored --end",
    )
)
@click.option("--begin", "change", flag_value="begin", help="It was brought back from a copy.")
@click.option("--end", "change", flag_value="end", help="All was looked at: hold nothing more.")
@json_option
def command(change: str | None, as_json: bool) -> None:
    """Say that this database was brought back from a copy, or that all of it was looked at.

    Such a copy does not know which reminders went out since it was made. So each follow-up of
    before is held as `restored` when its next reminder would go, unless the Sent folder shows that
    it went: that one is settled as sent by itself. A copy on a host that has seen the newer
    database is noticed by the first run; after a whole machine was brought back, say --begin before
    cron starts.
    """
    from backend.app import db
    from backend.app.store import installation
    from backend.scripts.cli.installation import opened

    with opened():
        if change is not None:
            db.write(installation.set_restored, restored=change == "begin")
        restored_at = db.read(installation.load_restored_at)
    if as_json:
        show_json({"restored_at": restored_at})
    elif restored_at is None:
        say("not a copy, as far as is known: nothing is held for it")
    else:
        say(f"brought back from a copy, known since {local_time(restored_at)}")
        say_wrapped("what may have gone out since the copy was made is held as `restored`:")
        say("  manage.py followup list --state held")
        say("  manage.py followup release ID, or stop ID        one by one")
        say("  manage.py followup release --company 1 --reason restored")
        say("  manage.py restored --end                         for all, from now on")
