"""The database: that it answers, at this version, by the right time, with passwords we can read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from backend.app import db
from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.errors import (
    BadInput,
    ConfigurationError,
    CredentialsUnreadable,
    DatabaseUnreachable,
)
from backend.app.operate.health.finding import Finding, Level
from backend.app.operate.places import check_time_zone
from backend.app.schema import head_revision
from backend.app.store import admin_mailboxes, admin_tenants, mailboxes, oauth

INIT = "manage.py init"
CLOCK_WARNING = timedelta(seconds=5)
CLOCK_FAULT = timedelta(seconds=60)


def open_and_check(settings: Settings) -> tuple[bool, list[Finding]]:
    """Whether its rows can be read, and what was found. Binds SessionLocal; makes no file."""
    missing = _missing_file(settings)
    if missing is not None:
        return False, [missing]
    try:
        db.open_database(settings)
    except DatabaseUnreachable as error:
        fix = "start it, or correct DATABASE_URL"
        return False, [Finding("database", Level.FAULT, str(error), fix)]
    except ConfigurationError as error:
        is_behind = "alembic" in str(error)
        check, fix = ("migrations", INIT) if is_behind else ("database", "correct DATABASE_URL")
        words = str(error).partition(". Run:")[0]
        return False, [Finding(check, Level.FAULT, words, fix)]
    return True, [
        Finding("database", Level.OK, "it answers"),
        Finding("migrations", Level.OK, f"it is at this version ({head_revision()})"),
    ]


def _missing_file(settings: Settings) -> Finding | None:
    """SQLite would make an empty file: looking must not."""
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        return None  # told by open_database
    file = url.database
    if url.get_backend_name() != "sqlite" or not file or file == ":memory:" or Path(file).exists():
        return None
    return Finding("database", Level.FAULT, f"{file} is not there", INIT)


def check_clock(settings: Settings) -> Finding:
    """This host's clock against the database's. SQLite has none of its own."""
    if make_url(settings.database_url).get_backend_name() == "sqlite":
        return Finding("clock", Level.OK, "SQLite goes by this host's clock")
    before = db.utc_now()
    theirs = db.read(db.load_now)
    return judge_clock(before, theirs, db.utc_now())


def judge_clock(before: datetime, theirs: datetime, after: datetime) -> Finding:
    """before, after: this host's clock around the moment at which the database said `theirs`."""
    off = max(before - theirs, theirs - after, timedelta(0))
    seconds = off.total_seconds()
    level = Level.FAULT if off >= CLOCK_FAULT else Level.WARNING
    if off < CLOCK_WARNING:
        return Finding("clock", Level.OK, "this host and the database agree on the time")
    side = "ahead of" if before > theirs else "behind"
    words = f"this host's clock is {seconds:.0f} s {side} the database's"
    return Finding("clock", level, words, "timedatectl set-ntp true")


def check_secrets(vault: Vault) -> Iterator[Finding]:
    """That each active mailbox's password, or OAuth2 grant, opens with the keys in use."""
    unreadable = False
    for mailbox_id in db.read(mailboxes.list_active, None, None):
        account = db.read(mailboxes.load_account, mailbox_id)
        grant = None if account.secret else db.read(oauth.load_grant, mailbox_id)
        tokens = (account.secret, account.smtp_secret, grant and grant.refresh_token)
        try:
            for token in tokens:
                if token:
                    vault.decrypt(token)
        except CredentialsUnreadable as error:
            unreadable = True
            fix = (
                "put the old key behind the new one in CREDENTIALS_KEYS and run manage.py key "
                f"rotate; or manage.py mailbox set {mailbox_id} --ask-password"
            )
            yield Finding("secret", Level.FAULT, str(error), fix, f"mailbox {mailbox_id}")
    if not unreadable:
        yield Finding("secret", Level.OK, "every stored password opens with the keys in use")


def check_companies(company_id: int | None = None) -> Iterator[Finding]:
    """Their time zones; their settings documents are looked at with the standing findings.

    company_id: the one that was asked for, which there may not be.
    """
    companies = db.read(admin_tenants.list_companies)
    if company_id is not None and company_id not in {each.id for each in companies}:
        words = f"there is no company {company_id}"
        yield Finding("company", Level.FAULT, words, "manage.py company list")
    if not companies:
        yield Finding(
            "company", Level.NOTICE, "there is no company yet", "manage.py company add NAME"
        )
    for company in companies:
        try:
            check_time_zone(company.timezone)
        except BadInput as error:
            fix = f"companies.timezone of row {company.id}: an IANA name, such as Europe/Paris"
            yield Finding("time_zone", Level.FAULT, str(error), fix, f"company {company.id}")


def check_chosen(mailbox_id: int | None) -> Iterator[Finding]:
    """The mailbox that was asked for: one that is not read would be passed over without a word."""
    if mailbox_id is not None and not db.read(mailboxes.list_active, None, mailbox_id):
        words = f"there is no active mailbox {mailbox_id}"
        yield Finding("mailbox", Level.FAULT, words, "manage.py mailbox list")


def has_mailboxes() -> bool:
    return bool(db.read(admin_mailboxes.list_mailbox_ids))
