"""The mails that every measurement reads: made from a seed, the same bytes on every machine.

    60 %   plain text, 1 to 4 KB
    25 %   multipart/alternative with HTML, 8 to 20 KB
    10 %   with an attachment, 50 to 200 KB
     5 %   with a large one, 1 to 2 MB

Not quite half are replies, in threads of up to twelve; one in eight quotes what it answers. The
charsets are what clients in Europe write, and some of the rest of the world. A few mails have no
Message-ID, one that was used before, a Date that is none, or an unknown charset.
"""

from __future__ import annotations

import base64
import quopri
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.utils import format_datetime

OUR_ADDRESS = "contact@atelier.example"
BEGIN = datetime(2026, 1, 5, 8, tzinfo=UTC)
LONGEST_THREAD = 12
CLIENTS = 800
BLOB_BYTES = 2_000_000

_FRENCH = "bonjour devis commande façade réponse délai très bientôt où déjà château merci règlement"
_ENGLISH = "please find attached invoice order delivery meeting thank you payment received quote"
_GERMAN = "Rechnung Bestellung Grüße Straße Größe Übersicht möchte Termin bestätigen Rückfragen"
_RUSSIAN = "договор оплата вовремя пожалуйста вложение встреча доставка спасибо счёт команда"
_JAPANESE = "ご請求書 注文 配送 添付 会議 来週 契約 商品 住所 担当者"
# weight, words, charset, transfer encodings
_LANGUAGES = (
    (34, _ENGLISH, "us-ascii", ("7bit",)),
    (26, _FRENCH, "utf-8", ("quoted-printable", "base64", "8bit")),
    (14, _FRENCH, "iso-8859-1", ("quoted-printable", "8bit")),
    (8, _GERMAN, "windows-1252", ("quoted-printable", "8bit")),
    (8, _ENGLISH, "utf-8", ("7bit", "quoted-printable")),
    (3, _RUSSIAN, "koi8-r", ("base64", "8bit")),
    (3, _RUSSIAN, "utf-8", ("base64", "quoted-printable")),
    (4, _JAPANESE, "iso-2022-jp", ("7bit",)),
)
_KINDS = (("plain", 60), ("alternative", 25), ("attached", 10), ("large", 5))


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a later mail needs to know in order to answer this one."""

    message_id: str | None
    references: tuple[str, ...]
    subject: str
    client: int
    language: int
    date: datetime


class Corpus:
    """`mails(count)` yields the raw mails, CRLF, one after the other."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._blob = self._random.randbytes(BLOB_BYTES)
        self._recent: list[_Sent] = []

    def mails(self, count: int) -> Iterator[bytes]:
        kinds, weights = zip(*_KINDS, strict=True)
        for number in range(count):
            (kind,) = self._random.choices(kinds, weights)
            yield self._mail(number, kind)

    def large_mail(self, size: int) -> bytes:
        """One mail with an attachment of about so many bytes as it travels."""
        parent = self._new(0)
        attachment = self._attachment(size * 3 // 4)
        return _joined(self._headers(0, parent, None), self._mixed(0, parent, attachment))

    def _mail(self, number: int, kind: str) -> bytes:
        answered = self._choose_parent()
        sent = self._new(number) if answered is None else self._reply(number, answered)
        self._recent = [*self._recent[-300:], sent]
        headers = self._headers(number, sent, answered)
        if kind == "plain":
            return _joined(headers, self._text(sent, answered, self._random.randint(600, 2600)))
        if kind == "alternative":
            return _joined(headers, self._alternative(number, sent, answered))
        smallest, largest = (36_000, 145_000) if kind == "attached" else (760_000, 1_450_000)
        attachment = self._attachment(self._random.randint(smallest, largest))
        return _joined(headers, self._mixed(number, sent, attachment))

    # -- who answers what ------------------------------------------------------------------

    def _choose_parent(self) -> _Sent | None:
        if not self._recent or self._random.random() > 0.45:
            return None
        parent = self._random.choice(self._recent)
        return parent if len(parent.references) < LONGEST_THREAD else None

    def _new(self, number: int) -> _Sent:
        language = self._random.choices(
            range(len(_LANGUAGES)), [weight for weight, *_ in _LANGUAGES]
        )[0]
        subject = " ".join(self._words(language, self._random.randint(2, 6)))
        client = self._random.randrange(CLIENTS)
        return _Sent(
            self._message_id(number, client), (), subject, client, language, self._date(number)
        )

    def _reply(self, number: int, parent: _Sent) -> _Sent:
        same = self._random.random() < 0.85
        client = parent.client if same else self._random.randrange(CLIENTS)
        own = () if parent.message_id is None else (parent.message_id,)
        return _Sent(
            self._message_id(number, client),
            (*parent.references, *own),
            "Re: " + parent.subject.removeprefix("Re: "),
            client,
            parent.language,
            self._date(number),
        )

    def _message_id(self, number: int, client: int) -> str | None:
        draw = self._random.random()
        if draw < 0.03:
            return None
        if draw < 0.04 and self._recent:
            return self._recent[-1].message_id
        return f"<{self._random.getrandbits(64):016x}.{number}@client{client % 40}.example>"

    def _date(self, number: int) -> datetime:
        return BEGIN + timedelta(seconds=240 * number + self._random.randrange(200))

    # -- headers ---------------------------------------------------------------------------

    def _headers(self, number: int, sent: _Sent, answered: _Sent | None) -> list[bytes]:
        charset = _LANGUAGES[sent.language][2]
        address = f"c{sent.client:04}@client{sent.client % 40}.example"
        name = " ".join(self._words(sent.language, 2)).title()
        date = format_datetime(sent.date)
        lines = [*self._trace(number, address, date)]
        lines.append("MIME-Version: 1.0")
        lines.append("Date: " + ("yesterday" if self._random.random() < 0.005 else date))
        lines.append(f"From: {_encoded(name, charset)} <{address}>")
        lines.append(f"To: Atelier <{OUR_ADDRESS}>")
        if self._random.random() < 0.15:
            others = (f"c{self._random.randrange(CLIENTS):04}@other.example" for _ in range(3))
            lines.append("Cc: " + ",\r\n ".join(others))
        lines.append("Subject: " + _encoded(sent.subject, charset))
        if sent.message_id is not None:
            lines.append("Message-ID: " + sent.message_id)
        if answered is not None and answered.message_id is not None:
            lines.append("In-Reply-To: " + answered.message_id)
        if sent.references:
            lines.append("References: " + "\r\n ".join(sent.references))
        return [line.encode("ascii") for line in lines]

    def _trace(self, number: int, address: str, date: str) -> Iterator[str]:
        """What the servers on the way write above a mail."""
        draw = self._random
        yield f"Return-Path: <{address}>"
        for hop in range(draw.randint(2, 5)):
            yield (
                f"Received: from mx{hop}.client.example (mx{hop}.client.example [192.0.2.{hop}])"
                f"\r\n\tby mail.atelier.example (Postfix) with ESMTPS id {number:010X}{hop}"
                f"\r\n\tfor <{OUR_ADDRESS}>; {date}"
            )
        if draw.random() < 0.8:
            signature = "\r\n\t ".join(_base64(draw.randbytes(48)) for _ in range(5))
            yield (
                "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=client.example; s=s1;"
                f"\r\n\th=From:To:Subject:Date:Message-ID;\r\n\tb={signature}"
            )
        if draw.random() < 0.6:
            yield "Authentication-Results: mail.atelier.example; dkim=pass; spf=pass; dmarc=pass"
        if draw.random() < 0.5:
            yield f"User-Agent: Mail {draw.randrange(9)}.{draw.randrange(9)}"

    # -- bodies: each returns a part with its own headers ------------------------------------

    def _text(self, sent: _Sent, answered: _Sent | None, size: int) -> bytes:
        _, _, charset, encodings = _LANGUAGES[sent.language]
        text = self._prose(sent.language, size)
        if answered is not None and self._random.random() < 0.3:
            quoted = self._prose(sent.language, size // 3).replace("\r\n", "\r\n> ")
            text += f"\r\nOn {format_datetime(answered.date)}, client wrote:\r\n> {quoted}\r\n"
        text += "\r\n-- \r\nAtelier client\r\n"
        label = "x-unknown-charset" if self._random.random() < 0.01 else charset
        encoding = self._random.choice(encodings)
        head = f"Content-Type: text/plain; charset={label}\r\nContent-Transfer-Encoding: {encoding}"
        return _part(head, _transfer(text.encode(charset, "replace"), encoding))

    def _html(self, sent: _Sent, size: int) -> bytes:
        charset = _LANGUAGES[sent.language][2]
        style = 'style="padding:0 4px;font-family:Arial,sans-serif"'
        rows, length = [], 0
        while length < size:
            words = " ".join(self._words(sent.language, self._random.randint(6, 12)))
            rows.append(f"<tr><td {style}>{words}</td></tr>\r\n")
            length += len(rows[-1])
        html = f"<html><head><title>x</title></head><body><table>{''.join(rows)}</table></body>"
        encoding = "base64" if charset == "iso-2022-jp" else "quoted-printable"
        head = f"Content-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: "
        return _part(head + encoding, _transfer(html.encode(charset, "replace"), encoding))

    def _alternative(self, number: int, sent: _Sent, answered: _Sent | None) -> bytes:
        text = self._text(sent, answered, self._random.randint(1500, 3500))
        return _multipart("alternative", number, text, self._html(sent, self._html_size()))

    def _html_size(self) -> int:
        return self._random.randint(5_000, 12_000)

    def _mixed(self, number: int, sent: _Sent, attachment: bytes) -> bytes:
        body = self._text(sent, None, 1500)
        if self._random.random() < 0.5:
            body = _multipart("alternative", number, body, self._html(sent, 3000))
        return _multipart("mixed", number, body, attachment)

    def _attachment(self, size: int) -> bytes:
        start = self._random.randrange(max(1, BLOB_BYTES - size))
        content = self._blob[start : start + size]
        while len(content) < size:
            content += self._blob[: size - len(content)]
        name = f"facture-{self._random.randrange(10_000)}.pdf"
        head = (
            f'Content-Type: application/pdf; name="{name}"\r\nContent-Transfer-Encoding: base64'
            f'\r\nContent-Disposition: attachment; filename="{name}"'
        )
        return _part(head, _transfer(content, "base64"))

    def _words(self, language: int, count: int) -> list[str]:
        return self._random.choices(_LANGUAGES[language][1].split(), k=count)

    def _prose(self, language: int, size: int) -> str:
        lines, length = [], 0
        while length < size:
            lines.append(" ".join(self._words(language, self._random.randint(6, 10))))
            length += len(lines[-1]) + 2
        return "\r\n".join(lines)


def _joined(headers: list[bytes], part: bytes) -> bytes:
    return b"\r\n".join(headers) + b"\r\n" + part


def _part(head: str, body: bytes) -> bytes:
    return head.encode("ascii") + b"\r\n\r\n" + body


def _multipart(subtype: str, number: int, *parts: bytes) -> bytes:
    boundary = f"=_{subtype}_{number}"
    delimiter = b"--" + boundary.encode()
    inside = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    head = f'Content-Type: multipart/{subtype};\r\n boundary="{boundary}"'
    return _part(head, inside + delimiter + b"--\r\n")


def _transfer(data: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return base64.encodebytes(data).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        return quopri.encodestring(data.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return data


def _encoded(text: str, charset: str) -> str:
    """RFC 2047 where it is needed, folded."""
    if text.isascii():
        return text
    return Header(text, charset, maxlinelen=70).encode(linesep="\r\n")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
