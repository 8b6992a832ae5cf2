"""What the scripts' flags name is looked up before the run: a wrong number would do nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy.orm import Session


def look_up_of(named: Mapping[str, int | None]) -> Callable[[Session], None] | None:
    """named: company_id, mailbox_id, followup_id, each None where the flag was not given.

    Returns None where none was, as under cron; else what raises Refused for the first that is not
    there, or is another company's.
    """
    if all(each is None for each in named.values()):
        return None
    return lambda session: _look_up(session, **named)


def _look_up(
    session: Session,
    *,
    company_id: int | None = None,
    mailbox_id: int | None = None,
    followup_id: int | None = None,
) -> None:
    # Here, since cron's runs have no use for them.
    from backend.app.store.admin_followups import load_followup_row
    from backend.app.store.admin_mailboxes import load_mailbox_row
    from backend.app.store.admin_tenants import load_company_row

    if company_id is not None:
        load_company_row(session, company_id)
    if mailbox_id is not None:
        load_mailbox_row(session, company_id, mailbox_id)
    if followup_id is not None:
        load_followup_row(session, company_id, followup_id)
