"""What the parts of a mail amount to: one text, one HTML, files and machine-readable reports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from backend.app.mail import markup
from backend.app.mail.charsets import clean_line, clean_text, decode_text
from backend.app.mail.filenames import safe_filename
from backend.app.mail.flowed import unflow
from backend.app.mail.headers import first, parse_params, split_fields
from backend.app.mail.message import Attachment, ReportPart
from backend.app.mail.mime import Part, Reading
from backend.app.mail.tnef import unpack_tnef
from backend.app.mail.transfer import decode_transfer, split_uuencoded
from backend.app.mail.words import decode_header

_REPORTS = frozenset(
    (
        "message/delivery-status",
        "message/global-delivery-status",
        "message/feedback-report",
        "message/disposition-notification",
        "message/global-disposition-notification",
        "text/rfc822-headers",
        "text/rfc822-header",
        "message/rfc822-headers",
        "message/global-headers",
        "text/rfc822",
        "message/rfc822",
        "message/global",
        "message/xdelivery-status",
        "message/news",
    )
)
_WHOLE_MAILS = ("message/rfc822", "message/global", "message/news")
_TNEF = ("application/ms-tnef", "application/vnd.ms-tnef")
# Alternatives that only some programs show and that repeat the HTML (AMP, watches).
_REPEATS = ("text/x-amp-html", "text/watch-html")
_META_CHARSET = re.compile(
    rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE
)
_INNERMOST_SPACE = re.compile(r"\W+")


@dataclass(slots=True)
class Segment:
    """One stretch of the text, as plain text, as HTML or as both."""

    plain: str = ""
    html: str = ""


@dataclass(slots=True)
class Content:
    """What has been gathered so far, in document order."""

    segments: list[Segment] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    reports: list[ReportPart] = field(default_factory=list)


def gather_content(reading: Reading, root: Part) -> Content:
    """Decode every part once. The depth of the tree is bounded, so recursion is."""
    content = Content()
    _gather(reading, root, content)
    return content


def _gather(reading: Reading, part: Part, content: Content) -> None:
    if not part.children:
        _take_leaf(reading, part, content)
        return
    before = len(content.segments)
    for child in part.children:
        _gather(reading, child, content)
    if part.content_type == "multipart/alternative" and len(content.segments) > before + 1:
        content.segments[before:] = [_merge_alternatives(content.segments[before:])]


def _merge_alternatives(segments: list[Segment]) -> Segment:
    plain = next((segment.plain for segment in segments if segment.plain.strip()), "")
    html = "\n".join(segment.html for segment in segments if segment.html)
    return Segment(plain, html)


def _take_leaf(reading: Reading, part: Part, content: Content) -> None:
    disposition, params = parse_params(part.header("content-disposition"))
    name = safe_filename(params.get("filename") or part.params.get("name", ""))
    kind = part.content_type
    if kind in _REPEATS:
        return
    if kind in _REPORTS:
        _take_report(reading, part, content, name, wanted=disposition == "attachment")
        return
    if kind in _TNEF or name.lower() == "winmail.dat":
        _take_tnef(reading, part, content, name)
        return
    shown = disposition != "attachment" and (not name or not part.parent_type)
    if kind == "text/html" and shown:
        html = decode_part_text(reading, part)
        content.segments.append(Segment(html=html))
    elif (kind == "text/plain" or kind == "text") and shown:
        _take_plain(reading, part, content)
    else:
        _take_file(reading, part, content, name, inline=disposition == "inline")


def decode_part(reading: Reading, part: Part) -> bytes | None:
    """A part's bytes, decoded; None when they would pass what one mail may unpack to."""
    length = part.end - part.start
    if length > reading.decoded_left:
        reading.note("a part is left out: the mail unpacks to too much")
        return None
    data = decode_transfer(
        reading.raw[part.start : part.end], part.header("content-transfer-encoding")
    )
    reading.decoded_left -= len(data)
    return data


def decode_part_text(reading: Reading, part: Part) -> str:
    """A text part as clean text, bounded."""
    data = decode_part(reading, part)
    if data is None:
        return ""
    charset = part.params.get("charset", "")
    if part.content_type == "text/html" and not data.isascii():
        meta = _META_CHARSET.search(data, 0, 4_096)
        if meta and charset.lower() in ("", "us-ascii", "ascii"):
            charset = meta[1].decode("ascii")
    # Four bytes at most make one character, so no more of them are ever needed.
    text, note = decode_text(data[: reading.limits.text_chars * 4], charset)
    if note:
        reading.note(note)
    text = clean_text(text)
    if len(text) > reading.limits.text_chars:
        reading.note(f"text cut at {reading.limits.text_chars} characters")
        text = text[: reading.limits.text_chars]
    return text


def _take_plain(reading: Reading, part: Part, content: Content) -> None:
    text = decode_part_text(reading, part)
    if part.params.get("format", "").lower() == "flowed":
        text = unflow(text, delsp=part.params.get("delsp", "").lower() == "yes")
    if "\nbegin " in text or text.startswith("begin "):
        text, files = split_uuencoded(text)
        for name, data in files:
            content.attachments.append(
                Attachment(safe_filename(name), "application/octet-stream", data)
            )
            reading.note("uuencoded file taken out of the text")
    content.segments.append(Segment(plain=text))


def _take_file(reading: Reading, part: Part, content: Content, name: str, *, inline: bool) -> None:
    data = decode_part(reading, part)
    if data is None or (not data and not name):
        return
    content_id = clean_line(part.header("content-id")).strip("<> ")[:250] or None
    content.attachments.append(
        Attachment(
            filename=name,
            content_type=part.content_type,
            content=data,
            content_id=content_id,
            inline=inline or (content_id is not None and part.parent_type == "multipart/related"),
        )
    )


def _take_report(
    reading: Reading, part: Part, content: Content, name: str, *, wanted: bool
) -> None:
    """A report or quoted original; outside a report, a whole mail is a file as well."""
    data = decode_part(reading, part)
    if data is None:
        return
    charset = part.params.get("charset", "")
    text = decode_text(data[: reading.limits.report_chars], charset)[0]
    content.reports.append(ReportPart(part.content_type, clean_text(text)))
    whole = part.content_type in _WHOLE_MAILS and part.parent_type != "multipart/report"
    if whole or (wanted and part.parent_type != "multipart/report"):
        name = name or _name_from_subject(data)
        content.attachments.append(Attachment(name, part.content_type, data))


def _name_from_subject(mail: bytes) -> str:
    fields, _, _ = split_fields(mail, 0, min(len(mail), 10_000))
    subject = decode_header(first(fields, "subject"))
    return safe_filename(f"{subject or 'mail'}.eml")


def _take_tnef(reading: Reading, part: Part, content: Content, name: str) -> None:
    data = decode_part(reading, part)
    if data is None:
        return
    unpacked = unpack_tnef(data)
    if unpacked is None:
        reading.note("winmail.dat unreadable, kept as it is")
        content.attachments.append(Attachment(name, part.content_type, data))
        return
    text, html = clean_text(unpacked.text), clean_text(unpacked.html)
    most = reading.limits.text_chars
    if (text or html) and not any(s.plain.strip() or s.html for s in content.segments):
        content.segments.append(Segment(text[:most], html[:most]))
    for file in unpacked.files[: reading.parts_left]:
        reading.parts_left -= 1
        content.attachments.append(
            Attachment(safe_filename(file.name), "application/octet-stream", file.content)
        )
    reading.note("winmail.dat unpacked")


@dataclass(frozen=True, slots=True)
class Readable:
    """The mail as a person reads it; `marked_from` as in `quoting.split_reply`."""

    text: str
    html: str | None
    marked_from: int | None


def make_readable(reading: Reading, segments: Iterable[Segment]) -> Readable:
    """Join the segments: plain text where there is some, else text made from the HTML."""
    texts: list[str] = []
    htmls: list[str] = []
    marked_from: int | None = None
    length = 0
    for segment in segments:
        html = _sanitise(reading, segment.html) if segment.html.strip() else ""
        text, mark = segment.plain.strip("\n"), None
        if not text.strip() and segment.html.strip():
            text, mark = _text_of(segment.html, html)
            if _says_nothing_new(text, texts):
                text = ""
        if html:
            htmls.append(html.strip())
        if mark is not None and marked_from is None:
            marked_from = length + mark
        if text.strip():
            texts.append(text)
            length += len(text) + 1
    whole = "\n".join(texts)[: reading.limits.text_chars]
    return Readable(clean_text(whole), "\n".join(htmls) or None, marked_from)


def _sanitise(reading: Reading, html: str) -> str:
    if len(html) > reading.limits.html_chars or markup.too_deep(html):
        reading.note("HTML too large or too deeply nested: only its text is kept")
        return ""
    return clean_text(markup.sanitise(html))


def _text_of(html: str, clean: str) -> tuple[str, int | None]:
    if clean:
        return markup.text_from_html(clean)
    return markup.strip_tags(html), None


def _says_nothing_new(text: str, texts: list[str]) -> bool:
    """A `multipart/mixed` of one text and the same as HTML says it once."""
    said = _INNERMOST_SPACE.sub("", "".join(texts))
    return _INNERMOST_SPACE.sub("", text) in said
