"""systemd units instead of the crontab, and a logrotate file beside it. Pure: text from a place.

One service and one timer for each script. systemd starts no second run of a service while the
first one goes on; runs on other hosts may overlap all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from backend.app.operate.crontab import JOBS, Job, Place

SERVICE = """\
# {words}
[Unit]
Description=Relance: {words}
After=network-online.target postgresql.service
Wants=network-online.target

[Service]
Type=oneshot
User={user}
ExecStart={command}
StandardOutput=append:{log}
StandardError=append:{log}
# 1: some mailboxes or reminders failed and the rest was done; `manage.py status` tells which.
SuccessExitStatus=1
# A run that is told to stop finishes the mail at hand.
TimeoutStopSec=90
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
{writable}
"""
TIMER = """\
[Unit]
Description=Relance: when {name} runs

[Timer]
OnCalendar={calendar}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
# rename and create, no copytruncate: each run opens the log anew and closes it at its end, so that
# a renamed file is written to for a minute at most; copytruncate would lose what is written between
# its copy and its cut. delaycompress leaves that minute's file alone.
LOGROTATE = """\
{logs} {{
    weekly
    rotate 12
    missingok
    notifempty
    create 0640 {user} {group}
    su {user} {group}
    compress
    delaycompress
}}
"""


def units(place: Place, user: str, writable: Sequence[str]) -> dict[str, str]:
    """File names and their texts.

    writable: the directories that the scripts write to; with "-" in front where they need not be.
    """
    made = {}
    for job in JOBS:
        made[f"relance-{job.name}.service"] = _service(place, job, user, writable)
        made[f"relance-{job.name}.timer"] = TIMER.format(name=job.name, calendar=job.calendar)
    return made


def _service(place: Place, job: Job, user: str, writable: Sequence[str]) -> str:
    lines = [f"ReadWritePaths={_quoted(path)}" for path in writable]
    return SERVICE.format(
        words=job.words,
        user=user,
        command=" ".join(map(_quoted, place.command(job))),
        log=_specifier(str(place.log(job))),
        writable="\n".join(lines),
    )


def _quoted(word: str) -> str:
    """systemd.service(5): quotes as in C, $ begins a variable, % a specifier."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_specifier(escaped)}"'


def _specifier(word: str) -> str:
    return word.replace("%", "%%")


def logrotate(place: Place, user: str, group: str) -> str:
    return LOGROTATE.format(logs=f'"{place.logs}/*.log"', user=user, group=group)
