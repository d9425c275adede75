"""What does a Markdown email say as plain text?

Walks the parser's events over the skeleton (placeholders still inside) and writes lines that take the
values later, so that quotes and lists keep their prefix over a value of several lines. Links become
``text (url)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from typing import Any

from ulak.core.content import text
from ulak.core.content.text import Line, Text
from ulak.core.engine import PLACE

_TAGS = re.compile(r"<!--.*?-->|</?[A-Za-z!][^>]*>", re.DOTALL)
_RULE = "-" * 40


def plan(events: Iterable[Any]) -> Text:
    """Write the events of a document as text that waits for its values."""
    writer = _Writer()
    for event in events:
        writer.take(event)
    return writer.done()


class _Writer:
    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._inline: list[str] = []
        self._prefix: list[str] = []
        self._bullet: str | None = None
        self._counters: list[int | None] = []
        self._links: list[tuple[int, str]] = []
        self._code = False

    def take(self, event: Any) -> None:
        """Take one event of the parser."""
        if isinstance(event, str):
            if event == "Rule":
                self._block(_RULE)
            else:
                self._inline.append("\n" if event == "HardBreak" else " ")
            return
        (kind, body), *_ = event.items()
        if kind == "Start":
            self._start(*_named(body))
        elif kind == "End":
            self._end(_named(body)[0])
        elif kind == "Html":
            bare = _TAGS.sub(lambda tag: tag[0][1:-1] if PLACE.fullmatch(tag[0][1:-1]) else _break(tag[0]), body)
            self._inline.append(text.clear(unescape(bare)))
        elif kind == "InlineHtml":
            self._inline.append(body[1:-1] if PLACE.fullmatch(body[1:-1]) else _break(body))
        elif isinstance(body, str):
            self._inline.append(text.clear(body))

    def done(self) -> Text:
        """The whole text."""
        self._flush()
        return Text(self._lines)

    def _start(self, name: str, body: Any) -> None:
        if name in ("Link", "Image"):
            self._links.append((len(self._inline), body["dest_url"] if name == "Link" else ""))
        elif name == "BlockQuote":
            self._flush()
            self._prefix.append("> ")
        elif name == "List":
            self._flush()
            self._counters.append(body)
        elif name == "Item":
            self._item()
        elif name == "CodeBlock":
            self._code = True
            self._prefix.append("    ")
        elif name == "TableCell" and self._inline:
            self._inline.append(" | ")

    def _item(self) -> None:
        self._flush()
        count = self._counters[-1] if self._counters else None
        self._bullet = "- " if count is None else f"{count}. "
        if count is not None:
            self._counters[-1] = count + 1
        self._prefix.append(" " * len(self._bullet))

    def _end(self, name: str) -> None:
        if name in ("Link", "Image"):
            self._link()
        elif name in ("Paragraph", "Heading", "HtmlBlock", "Table"):
            self._flush()
            self._gap()
        elif name in ("TableHead", "TableRow"):
            self._flush()
        elif name in ("BlockQuote", "Item", "CodeBlock"):
            self._flush()
            self._code = False
            self._bullet = None
            if self._prefix.pop() == "> ":
                while self._lines and not self._lines[-1].skeleton and not self._lines[-1].first.strip("> "):
                    self._lines.pop()
            if name != "Item":
                self._gap()
        elif name == "List":
            self._counters.pop()
            self._gap()

    def _link(self) -> None:
        at, skeleton = self._links.pop()
        if skeleton:
            self._inline[at:] = [text.link("".join(self._inline[at:]), skeleton)]

    def _flush(self) -> None:
        if self._inline:
            self._block("".join(self._inline))
            self._inline = []

    def _gap(self) -> None:
        self._lines.append(Line("", "".join(self._prefix).rstrip() if self._prefix[-1:] == ["> "] else ""))

    def _block(self, words: str) -> None:
        rest = "".join(self._prefix)
        for line in (words.rstrip("\n") if self._code else words.strip()).split("\n"):
            first = rest
            if self._bullet is not None:
                first, self._bullet = "".join([*self._prefix[:-1], self._bullet]), None
            self._lines.append(Line(line, first, rest, keep=self._code))


def _named(body: Any) -> tuple[str, Any]:
    if isinstance(body, str):
        return body, None
    (name, inner), *_ = body.items()
    return name, inner


def _break(tag: str) -> str:
    return "\n" if tag[:3].lower() == "<br" else ""
