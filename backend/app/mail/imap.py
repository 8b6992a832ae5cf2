"""The network edge towards IMAP (RFC 3501, 9051). Read-only, whatever happens (I3).

Folders are opened with EXAMINE and mail is fetched with BODY.PEEK[], so that no flag changes.
`append_seen` alone adds something: a copy of our own reminder to Sent.
UIDs are asked for by explicit ranges: an answer to `n:*` always holds the last message, however
old (RFC 3501, 6.4.8), and servers send FETCH rows that nobody asked for.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from imapclient import SEEN, IMAPClient, SocketTimeout, imap_utf7
from imapclient.exceptions import (
    IMAPClientAbortError,
    IMAPClientError,
    LoginError,
    ProtocolError,
)

from backend.app.errors import (
    CredentialsRefused,
    FolderGone,
    MailboxMisconfigured,
    NetworkFault,
    ServerFault,
    Throttled,
)
from backend.app.mail.endpoint import (
    Endpoint,
    certificate_end,
    cut_off,
    network_fault,
    require_protection,
    tls_context,
)
from backend.app.mail.folder import (
    FetchedMail,
    FolderStatus,
    MailOutline,
    Role,
    ServerFolder,
    find_sent_folder,
    openable_names,
)
from backend.app.mail.sasl import SaslToken
from backend.app.mail.structure import read_structure

HEADER_BYTES = 1_000_000
IDENTITY_HEADERS = (
    b"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID FROM SENDER DATE SUBJECT IN-REPLY-TO REFERENCES)]"
)
SHORT_RANGE = 200
LARGEST_NUMBER = 2**32 - 1  # UIDVALIDITY, UIDNEXT and UIDs (RFC 3501, 9: nz-number)
# RFC 5530 response codes and what Gmail, Outlook and Dovecot say in plain words.
THROTTLE_WORDS = (
    "[limit]",
    "[unavailable]",
    "[overquota]",
    "[inuse]",
    "too many",
    "bandwidth",
    "rate limit",
    "throttl",
    "try again later",
    "temporar",
)


class MailboxConnection:
    """A signed-in connection. Every method raises NetworkFault, Throttled or ServerFault."""

    def __init__(self, client: IMAPClient, endpoint: Endpoint) -> None:
        self._client = client
        self._endpoint = endpoint
        self._condstore = client.has_capability("CONDSTORE")

    @contextlib.contextmanager
    def _answered(self, folder: str | None = None) -> Iterator[None]:
        with (
            cut_off(self._endpoint, self._client.socket()),
            translated(self._endpoint, folder=folder),
        ):
            yield

    def certificate_end(self) -> datetime | None:
        """Until when the server's certificate is valid (aware UTC); None without TLS."""
        return certificate_end(self._client.socket())

    def folders(self, sent_folder: str | None = None) -> tuple[ServerFolder, ...]:
        """INBOX, then the Sent folder if there is one: the one named, else the one found."""
        with self._answered():
            listed = [(flags, name) for flags, _, name in self._client.list_folders()]
            found = sent_folder or find_sent_folder(listed)
        folders = [ServerFolder("INBOX", Role.INBOX)]
        if found is not None and found.upper() != "INBOX":
            folders.append(ServerFolder(found, Role.SENT))
        return tuple(folders)

    def folder_names(self) -> list[str]:
        """Every folder that can be opened, in the server's order."""
        with self._answered():
            return openable_names([(flags, name) for flags, _, name in self._client.list_folders()])

    def status(self, name: str) -> FolderStatus:
        """Raises FolderGone too."""
        items = [b"UIDVALIDITY", b"UIDNEXT", b"MESSAGES"]
        if self._condstore:
            items.append(b"HIGHESTMODSEQ")
        with self._answered(folder=name):
            answer = self._client.folder_status(imap_utf7.encode(name), items)
        return _folder_status(answer)

    def examine(self, name: str) -> int:
        """Open a folder read-only and return its UIDVALIDITY. Raises FolderGone too."""
        with self._answered(folder=name):
            answer = self._client.select_folder(imap_utf7.encode(name), readonly=True)
        value = answer.get(b"UIDVALIDITY")
        if not isinstance(value, int):
            raise ServerFault(f"{self._endpoint} gave no UIDVALIDITY for a folder")
        return value

    def holds_message(self, name: str, message_id: str) -> bool:
        """Whether a folder holds a mail with this Message-ID (without <>). Raises FolderGone."""
        self.examine(name)
        wanted = f"<{message_id}>".encode("ascii", "replace")
        with self._answered():
            return bool(self._client.search([b"HEADER", b"Message-ID", wanted]))

    def append_seen(self, name: str, raw: bytes, at: datetime) -> None:
        """Add a mail, already read, to a folder: the one command here that writes to a mailbox.

        at: its INTERNALDATE, aware. Raises FolderGone when the folder does not take it.
        """
        with self._answered(folder=name):
            self._client.append(imap_utf7.encode(name), raw, flags=(SEEN,), msg_time=at)

    def uids(self, first: int, last: int) -> list[int]:
        """The UIDs from first to last that may exist, ascending; a short range is not asked for.

        The caller bounds the range: the answer is one line, and imaplib takes 1 MB at most.
        """
        if last - first < SHORT_RANGE:
            return list(range(first, last + 1))
        return self.existing(first, last)

    def existing(self, first: int, last: int, since: date | None = None) -> list[int]:
        """The UIDs from first to last that exist, ascending.

        since: only what arrived on that day or later. The server compares the day of INTERNALDATE
        in a time zone of its own (RFC 3501, 6.4.4).
        """
        criteria: list[Any] = [b"UID", f"{first}:{last}".encode()]
        if since is not None:
            criteria += [b"SINCE", since]
        with self._answered():
            found = self._client.search(criteria)
        return sorted({uid for uid in found if first <= uid <= last})

    def sizes(self, uids: Sequence[int]) -> dict[int, int]:
        """RFC822.SIZE in octets of those UIDs that exist; 0 where the server does not know it."""
        rows = self._fetch(uids, [b"RFC822.SIZE"])
        return {
            uid: max(size, 0) if isinstance(size := row.get(b"RFC822.SIZE"), int) else 0
            for uid, row in rows.items()
            # An unsolicited row without a UID stands under its sequence number.
            if b"RFC822.SIZE" in row or row.get(b"SEQ") != uid
        }

    def identities(self, uids: Sequence[int]) -> dict[int, bytes]:
        """The header fields that tell one mail from another, without the bodies."""
        rows = self._fetch(uids, [IDENTITY_HEADERS])
        found: dict[int, bytes] = {}
        for uid, row in rows.items():
            for key, value in row.items():
                if key.startswith(b"BODY[HEADER") and isinstance(value, bytes):
                    found[uid] = value
        return found

    def mails(self, uids: Sequence[int]) -> list[FetchedMail]:
        """The mails that are still there, in ascending UID order."""
        rows = self._fetch(uids, [b"BODY.PEEK[]", b"INTERNALDATE"])
        return [
            FetchedMail(uid, row[b"BODY[]"], _aware(row.get(b"INTERNALDATE")))
            for uid, row in sorted(rows.items())
            # A row without a body is an unsolicited one: a flag that changed elsewhere.
            if isinstance(row.get(b"BODY[]"), bytes)
        ]

    def outline(self, uid: int) -> MailOutline | None:
        """What a mail is made of, without its body; None when it is not there."""
        items = [b"BODYSTRUCTURE", b"BODY.PEEK[HEADER]<0.%d>" % HEADER_BYTES, b"INTERNALDATE"]
        row = self._fetch([uid], items).get(uid)
        if not row or b"BODYSTRUCTURE" not in row:
            return None
        with self._answered():
            leaves = read_structure(row[b"BODYSTRUCTURE"])
        header = next((v for k, v in row.items() if k.startswith(b"BODY[HEADER]")), b"")
        return MailOutline(header or b"", tuple(leaves), _aware(row.get(b"INTERNALDATE")))

    def part(self, uid: int, section: str, first: int, count: int) -> bytes:
        """At most `count` bytes of a part as it travels, from its byte `first` on; b"" at its end.

        Raises ServerFault when the answer lacks it.
        """
        item = f"BODY.PEEK[{section}]<{first}.{count}>".encode()
        row = self._fetch([uid], [item]).get(uid, {})
        for key, value in row.items():
            if key.startswith(f"BODY[{section}]".encode()):
                return value if isinstance(value, bytes) else b""
        raise ServerFault(f"{self._endpoint} does not give part {section} of a mail")

    def _fetch(self, uids: Sequence[int], items: list[bytes]) -> Mapping[int, dict[bytes, Any]]:
        if not uids:
            return {}
        # Servers tell of other mails in between (RFC 3501, 7.4.2); the library drops those.
        with self._answered():
            rows: Mapping[int, dict[bytes, Any]] = self._client.fetch(list(uids), items)
        return rows


@contextlib.contextmanager
def open_mailbox(endpoint: Endpoint) -> Iterator[MailboxConnection]:
    """Connect, sign in, and sign out at the end.

    Raises CredentialsRefused, Throttled, NetworkFault, ServerFault or MailboxMisconfigured.
    """
    require_protection(endpoint)
    client = _signed_in(endpoint)
    try:
        with translated(endpoint):
            connection = MailboxConnection(client, endpoint)
        yield connection
    finally:
        _close(client, endpoint)


def _signed_in(endpoint: Endpoint) -> IMAPClient:
    """A refused access token is renewed once: it may have been revoked before its time."""
    tokens = endpoint.tokens
    if tokens is None:
        return _open(endpoint, None)
    token = tokens.token()
    try:
        return _open(endpoint, token)
    except CredentialsRefused:
        return _open(endpoint, tokens.renew(token))


def _open(endpoint: Endpoint, token: str | None) -> IMAPClient:
    with translated(endpoint):
        client = _connect(endpoint)
        try:
            with cut_off(endpoint, client.socket()):
                if token is None:
                    _sign_in(client, endpoint)
                else:
                    _sign_in_by_token(client, endpoint, token)
        except BaseException:
            _close(client, endpoint)
            raise
        return client


def _connect(endpoint: Endpoint) -> IMAPClient:
    tls = endpoint.security == "tls"
    try:
        client = IMAPClient(
            endpoint.host,
            port=endpoint.port,
            ssl=tls,
            ssl_context=tls_context(endpoint) if tls else None,
            timeout=SocketTimeout(connect=endpoint.timeout, read=endpoint.timeout),
        )
    except UnicodeError as error:  # a label that is empty or too long (RFC 1035, 2.3.4)
        raise NetworkFault(f"host name {endpoint.host} cannot be resolved: {error}") from error
    # The library sends a command and its CRLF apart: the second part would wait for the server's
    # delayed ACK of the first one, 40 ms a command (RFC 896, RFC 1122, 4.2.3.2).
    client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # imaplib would write each answer out for a log that nobody keeps: a large mail, several times.
    client._imap.debug = 0
    client.normalise_times = False  # it would turn aware times into naive local ones
    client.folder_encode = False  # one name outside modified UTF-7 would spoil the whole list
    if endpoint.security == "starttls":
        try:
            with cut_off(endpoint, client.socket()):
                client.starttls(tls_context(endpoint))
        except BaseException:
            _close(client, endpoint)
            raise
    return client


def _sign_in(client: IMAPClient, endpoint: Endpoint) -> None:
    if (endpoint.username + endpoint.password).isascii():
        client.login(endpoint.username, endpoint.password)
    else:  # LOGIN takes ASCII alone; PLAIN is UTF-8 (RFC 4616)
        client.plain_login(endpoint.username, endpoint.password)


def _sign_in_by_token(client: IMAPClient, endpoint: Endpoint, token: str) -> None:
    """OAUTHBEARER (RFC 7628) where the server has it, else XOAUTH2."""
    standard = client.has_capability("AUTH=OAUTHBEARER")
    name = "OAUTHBEARER" if standard else "XOAUTH2"
    if not standard and not client.has_capability("AUTH=XOAUTH2"):
        raise MailboxMisconfigured(f"{endpoint} offers no sign-in by OAuth2")
    client.sasl_login(name, SaslToken(endpoint, token, standard=standard))


def _close(client: IMAPClient, endpoint: Endpoint) -> None:
    # The server may be gone already; what had to be said about that was raised before.
    with (
        contextlib.suppress(IMAPClientError, OSError, NetworkFault),
        cut_off(endpoint, client.socket()),
    ):
        client.logout()
        return
    with contextlib.suppress(IMAPClientError, OSError):
        client.shutdown()


@contextlib.contextmanager
def translated(endpoint: Endpoint, *, folder: str | None = None) -> Iterator[None]:
    """Our named errors for the library's."""
    try:
        yield
    except OSError as error:
        raise network_fault(endpoint, error) from error
    except LoginError as error:
        raise _login_fault(endpoint, error) from error
    except IMAPClientAbortError as error:
        words = str(error)
        if _is_throttle(words):
            raise Throttled(f"{endpoint} asks to come back later: {words}") from error
        raise network_fault(endpoint, ConnectionError(f"cut short: {words}")) from error
    except IMAPClientError as error:
        words = str(error)
        if _is_throttle(words):
            raise Throttled(f"{endpoint} asks to come back later: {words}") from error
        if folder is not None and not isinstance(error, ProtocolError):
            raise FolderGone(
                f"the folder {folder!r} on {endpoint} cannot be opened: {words}"
            ) from error
        raise ServerFault(f"{endpoint} answered: {words}") from error
    # What the library's parser stumbles over in broken answers.
    except (ValueError, TypeError, LookupError, ArithmeticError, AssertionError) as error:
        raise ServerFault(f"{endpoint} answered what IMAP does not allow: {error}") from error


def _login_fault(
    endpoint: Endpoint, error: LoginError
) -> Throttled | NetworkFault | CredentialsRefused:
    # imaplib puts the server's words into its error as bytes, and so their quotes and their b.
    words = re.sub(r"^b(['\"])(.*)\1$", r"\2", str(error))
    if _is_throttle(words) and "[authenticationfailed]" not in words.lower():
        return Throttled(f"{endpoint} asks to come back later: {words}")
    # The library makes one error of a refusal and of a server that goes away meanwhile.
    if isinstance(error.__context__, IMAPClientAbortError):
        return network_fault(endpoint, ConnectionError(f"cut short: {words}"))
    what = "password" if endpoint.tokens is None else "access token"
    return CredentialsRefused(f"{endpoint} refused the user name or {what}: {words}")


def _is_throttle(words: str) -> bool:
    lowered = words.lower()
    return any(word in lowered for word in THROTTLE_WORDS)


def _folder_status(answer: Mapping[bytes, Any]) -> FolderStatus:
    numbers = {key: value for key, value in answer.items() if isinstance(value, int)}
    for name in (b"UIDVALIDITY", b"UIDNEXT"):
        if not 0 <= numbers.get(name, -1) <= LARGEST_NUMBER:
            raise ServerFault(f"STATUS came without a usable {name.decode()}")
    return FolderStatus(
        uidvalidity=numbers[b"UIDVALIDITY"],
        uidnext=numbers[b"UIDNEXT"],
        messages=numbers.get(b"MESSAGES", 0),
        # 0 is said of a folder that keeps none (RFC 7162, 3.1.2.2), whatever happens in it.
        highestmodseq=numbers.get(b"HIGHESTMODSEQ") or None,
    )


def _aware(moment: object) -> datetime | None:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return None
    try:
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):  # a zone of 99 hours, or the first hours of the year 1
        return None
