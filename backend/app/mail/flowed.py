"""format=flowed (RFC 3676): soft line breaks joined, space-stuffing removed."""

from __future__ import annotations


def unflow(text: str, *, delsp: bool = False) -> str:
    """The text with its paragraphs on one line each; quote marks (`> `) are kept.

    :param delsp: the DelSp=yes parameter: the space at a soft break is not part of the text
    """
    paragraphs: list[list[str]] = []
    flowing: int | None = None  # the quote depth of the paragraph that goes on
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        content = line[depth:].removeprefix(" ")
        soft = content.endswith(" ") and content != "-- "
        if soft and delsp:
            content = content[:-1]
        if flowing == depth and content != "-- ":
            paragraphs[-1].append(content)
        else:
            paragraphs.append([">" * depth + " " * bool(depth) + content])
        flowing = depth if soft else None
    return "\n".join("".join(pieces) for pieces in paragraphs)
