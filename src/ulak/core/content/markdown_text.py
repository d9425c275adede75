"""What does a Markdown email say as plain text?

Walks the parser's events over the skeleton (placeholders still inside) and fills values on the way, so
that quotes and lists keep their prefix over a value of several lines. Links become ``text (url)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import unescape
from typing import Any

from ulak.core.content import fill
from ulak.core.engine import PLACE

_TAGS = re.compile(r"<!--.*?-->|</?[A-Za-z!][^>]*>", re.DOTALL)
_RULE = "-" * 40


def text(events: Iterable[Any], values: Sequence[str]) -> str:
    """Write the events of a document as text, filled with values."""
    writer = _Writer(values)
    for event in events:
        writer.take(event)
    return writer.done()


class _Writer:
    def __init__(self, values: Sequence[str]) -> None:
        self._values = values
        self._lines: list[str] = []
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
            self._inline.append(self._fill(unescape(bare)))
        elif kind == "InlineHtml":
            self._inline.append(self._fill(body[1:-1]) if PLACE.fullmatch(body[1:-1]) else _break(body))
        elif isinstance(body, str):
            self._inline.append(self._fill(body))

    def done(self) -> str:
        """The whole text: no blank line at either end, never two in a row."""
        self._flush()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in self._lines)).strip("\n") + "\n"

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
                while self._lines and not self._lines[-1].strip("> "):
                    self._lines.pop()
            if name != "Item":
                self._gap()
        elif name == "List":
            self._counters.pop()
            self._gap()

    def _link(self) -> None:
        at, skeleton = self._links.pop()
        target = fill.url(skeleton, self._values) if skeleton else None
        words = "".join(self._inline[at:]).strip()
        if target and target not in (words, f"mailto:{words}", f"tel:{words}"):
            self._inline.append(f" ({target})" if words else target)

    def _fill(self, skeleton: str) -> str:
        return fill.plain(skeleton, self._values)

    def _flush(self) -> None:
        if self._inline:
            self._block("".join(self._inline))
            self._inline = []

    def _gap(self) -> None:
        self._lines.append("".join(self._prefix).rstrip() if self._prefix[-1:] == ["> "] else "")

    def _block(self, words: str) -> None:
        for line in (words.rstrip("\n") if self._code else words.strip()).split("\n"):
            lead = self._prefix
            if self._bullet is not None:
                lead, self._bullet = [*self._prefix[:-1], self._bullet], None
            self._lines.append("".join(lead) + (line if self._code else line.strip()))


def _named(body: Any) -> tuple[str, Any]:
    if isinstance(body, str):
        return body, None
    (name, inner), *_ = body.items()
    return name, inner


def _break(tag: str) -> str:
    return "\n" if tag[:3].lower() == "<br" else ""
