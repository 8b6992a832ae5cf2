"""The named errors. Each one has an exit status or a kind that is logged, stored and asserted."""

from __future__ import annotations

from datetime import timedelta

# sysexits(3): what the system crontab and monitoring can tell apart.
EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_INTERNAL = 70
EXIT_DATABASE_UNREACHABLE = 75
EXIT_CONFIGURATION = 78


class RelanceError(Exception):
    """The root of every error that this package raises on purpose."""


class ConfigurationError(RelanceError):
    """A setting is missing or wrong. The message names it and says what to do."""


class DatabaseUnreachable(RelanceError):
    """The database does not answer, or is not the one that this version needs."""


class SettingsInvalid(RelanceError):
    """A company's settings document is wrong. The message names the key."""


class CredentialsUnreadable(RelanceError):
    """A stored password cannot be decrypted with any of the keys."""


class BadInput(RelanceError):
    """A value that a person gave cannot be used. The message says which and what would do."""


class Refused(RelanceError):
    """What a person asked for cannot be done as things stand: no such row, or there already."""


class RaceLost(RelanceError):
    """Another transaction was first; db.write runs ours again, and it sees what that one left."""


class LeaseLost(RelanceError):
    """Another worker holds the mailbox now: this one woke up late and must write nothing."""


class ClaimLost(RelanceError):
    """Another worker holds the reminder now, or its claim has ended: it must not be sent."""


class MailboxError(RelanceError):
    """A mailbox, or the server behind it, could not be used. `kind` is stored with the mailbox."""

    kind = "mailbox"


class MailboxMisconfigured(MailboxError):
    """The mailbox's own settings cannot work: plain text to a remote host, no SMTP host, ..."""

    kind = "settings"


class CredentialsRefused(MailboxError):
    """The server refused the user name or the password."""

    kind = "credentials"


class Throttled(MailboxError):
    """The server asks us to come back later: too many connections, bandwidth, rate."""

    kind = "throttled"


class NetworkFault(MailboxError):
    """No connection, a time-out, TLS that cannot be verified, or a connection cut short."""

    kind = "network"


class ServerFault(MailboxError):
    """The server answered something that the protocol does not allow, or that it is broken."""

    kind = "server"


class DayUsedUp(MailboxError):
    """So many bytes were fetched from the mailbox today that the rest waits for tomorrow."""

    kind = "allowance"


class Renumbering(MailboxError):
    """The server gives a folder other numbers at each visit: all is read, and it is tiring."""

    kind = "renumbering"


class FolderGone(MailboxError):
    """A folder that was listed cannot be opened any more."""

    kind = "folder"


class StorageFault(RelanceError):
    """Files cannot be written here: a full disk, or a directory without permission."""


class ParserDied(RelanceError):
    """The process that parsed a mail died of it: a fault of a library, or of memory."""


class NotSent(RelanceError):
    """The mail certainly did not go out. `permanent`: another try would get the same answer.

    code: the SMTP reply code (RFC 5321), None when there was no reply.
    retry_after: how long the server wants us to stay away, None when it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool,
        code: int | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.code = code
        self.retry_after = retry_after


class SendUncertain(RelanceError):
    """The final dot may have reached the server and no answer came: nobody may send again."""
