"""Why a follow-up is sent, stopped, held or waits, and what a status word means."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum


class ReasonCode(StrEnum):
    """Why: stored in the history and shown to the company. `meaning` says it in one line."""

    meaning: str

    def __new__(cls, code: str, meaning: str = "") -> ReasonCode:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DUE = "due", "the step is due and nothing speaks against it"
    DISABLED = "disabled", "automatic reminders are switched off for this follow-up"
    DONE = "done", "it is done"
    PAID = "paid", "it is paid"
    REFUSED = "refused", "the client has refused"
    CANCELLED = "cancelled", "it was cancelled"
    ACCEPTED = "accepted", "the client has accepted"
    ANSWERED = "answered", "the client has answered since the last step"
    COMPLETED = "completed", "every step went out"
    PAUSED = "paused", "somebody has paused it"
    DISPUTED = "disputed", "the client disputes it"
    DO_NOT_CONTACT = "do_not_contact", "the client wants no reminders"
    BOUNCED_HARD = "bounced_hard", "a mail to the client's address came back for good"
    BOUNCED_SOFT = "bounced_soft", "too many mails came back, each for a passing reason"
    EXPIRED = "expired", "what is left had its time before the due date, which has passed"
    TOO_OLD = "too_old", "it could have gone out long ago: a person must say that it still should"
    ALWAYS_CLOSED = "always_closed", "the rules leave no day on which the company writes"
    SURGE = "surge", "far more reminders went out today than on a usual day"
    COMPLAINED = "complained", "the client reported a mail of ours as unwanted"
    BOUNCE_BURST = "bounce_burst", "too many of the company's mails came back today"
    UNKNOWN_STATUS = "unknown_status", "its status is a word that we don't know"
    NO_ADDRESS = "no_address", "the client has no e-mail address"
    NO_PHONE = "no_phone", "the client has no mobile number such as +33612345678"
    NO_SMS_ACCOUNT = "no_sms_account", "the company has no account that sends text messages"
    UNKNOWN_TYPE = "unknown_type", "there are no rules for its type"
    NO_DUE_DATE = "no_due_date", "it has no due date, or an impossible one"
    UNKNOWN_TIME_ZONE = "unknown_time_zone", "the company's time zone is not an IANA zone"
    MISSING_VARIABLE = "missing_variable", "the wording needs a value that is missing"
    WORDING_UNUSABLE = "wording_unusable", "the company's own template cannot be filled in"
    MAIL_UNUSABLE = "mail_unusable", "the mail cannot be written: correct what it names, release it"
    TEXT_TOO_LONG = "text_too_long", "the text message has more segments than the rules allow"
    SENDER_NOT_CARRIED = (
        "sender_not_carried",
        "networks there carry no sender's name: give the account a number, manage.py sms set",
    )
    DOCUMENT_UNUSABLE = "document_unusable", "the file that goes with it cannot be attached"
    REPLY_TO_UNREAD = "reply_to_unread", "no mailbox of the company is read where answers would go"
    NO_MAILBOX = "no_mailbox", "the company has no active mailbox that can send"
    REFUSED_BY_SERVER = "refused_by_server", "the server refused it for good"
    GIVEN_UP = "given_up", "the server put it off too many times"
    UNCERTAIN = "uncertain", "it may have gone out, and no proof came: a person must say"
    ON_ITS_WAY = "on_its_way", "another run is sending it at this moment"
    ALREADY_SENT = (
        "already_sent",
        "the outbox says that this step went out already: set steps_sent to it, then release",
    )
    RESTORED = (
        "restored",
        "the database was brought back from a copy: it may have gone out since",
    )
    RETRY_LATER = "retry_later", "the server put it off; another try follows"
    MAIL_IN_QUARANTINE = "mail_in_quarantine", "a mail from this client could not be read yet"
    HISTORY_NOT_READ = (
        "history_not_read",
        "an answer may lie in older mail than was read: mailbox set --history-days, or release",
    )
    SETTINGS_INVALID = "settings_invalid", "the company's settings are wrong"
    INTERNAL_ERROR = "internal_error", "an internal error, see the log; another look follows"
    NOT_DUE = "not_due", "the next step is not due yet"
    MIN_GAP = "min_gap", "the last step went out too short a time ago"
    PROMISED = "promised", "the client has promised to settle it by then"
    POSTPONED = "postponed", "somebody has put it off"
    OUT_OF_OFFICE = "out_of_office", "the client is away"
    SOFT_BOUNCE = "soft_bounce", "a mail came back for a passing reason"
    OUTSIDE_WINDOW = "outside_window", "the company does not write at this hour or on this day"
    CLIENT_GAP = "client_gap", "the client had another reminder too short a time ago"
    MAILBOX_BUDGET = "mailbox_budget", "the mailbox has sent its share of the day"
    RUN_BUDGET = "run_budget", "the company has sent its share of this run"
    MISSED = "missed", "its time passed while nothing could go out; a later step goes instead"
    MAILBOX_NOT_FRESH = "mailbox_not_fresh", "an answer may lie unread in the reply mailbox"


# The host application's words, English and French, without accents, capitals, '_' or '-'.
# A word that is not here holds the reminder: it might mean "settled".
_STATUS_WORDS: dict[ReasonCode | None, str] = {
    None: (  # open: reminders may go out
        "pending, active, open, new, todo, to do, planned, scheduled, waiting, in progress, sent, "
        "reminded, unpaid, overdue, late, unanswered, "
        "en attente, actif, active, ouvert, ouverte, nouveau, nouvelle, a faire, a relancer, "
        "relance, relancee, prevu, prevue, planifie, planifiee, programme, programmee, en cours, "
        "envoye, envoyee, impaye, impayee, en retard, sans reponse"
    ),
    ReasonCode.DONE: (
        "done, completed, finished, closed, archived, resolved, "
        "fait, faite, termine, terminee, fini, finie, clos, close, cloture, cloturee, "
        "traite, traitee, archive, archivee, resolu, resolue"
    ),
    ReasonCode.PAID: (
        "paid, settled, paye, payee, regle, reglee, solde, soldee, acquitte, acquittee, "
        "encaisse, encaissee"
    ),
    ReasonCode.REFUSED: (
        "refused, rejected, declined, lost, refuse, refusee, rejete, rejetee, decline, declinee, "
        "perdu, perdue"
    ),
    ReasonCode.CANCELLED: (
        "cancelled, canceled, abandoned, void, stopped, disabled, annule, annulee, "
        "abandonne, abandonnee, arrete, arretee, stoppe, stoppee, desactive, desactivee"
    ),
    ReasonCode.ACCEPTED: (
        "accepted, approved, signed, won, accepte, acceptee, approuve, approuvee, signe, signee, "
        "gagne, gagnee"
    ),
    ReasonCode.ANSWERED: "answered, replied, responded, repondu",
    ReasonCode.DISPUTED: (
        "disputed, dispute, in dispute, contested, conteste, contestee, litige, en litige, "
        "litigieux, litigieuse"
    ),
    ReasonCode.PAUSED: "paused, on hold, suspended, pause, en pause, suspendu, suspendue",
}
_REASON_BY_WORD = {
    word: reason for reason, words in _STATUS_WORDS.items() for word in words.split(", ")
}


def status_reason(status: str) -> ReasonCode | None:
    """Return what the host application's word says; None when it leaves the follow-up open.

    Case, accents and the difference between `_`, `-` and a space don't count.
    """
    return _REASON_BY_WORD.get(_folded(status), ReasonCode.UNKNOWN_STATUS)


def _folded(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word)
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    return re.sub(r"[\s_-]+", " ", bare).strip().casefold()
