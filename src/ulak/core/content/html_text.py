"""What does an HTML email say as plain text?

Reads the skeleton (placeholders still inside) with the standard library's parser: blocks become lines,
links ``text (url)``, list items ``- text``; what a browser does not show is left out. The lines take their
values later.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from ulak.core.content import text
from ulak.core.content.text import Line, Text

_BLOCKS = frozenset("p div tr table ul ol h1 h2 h3 h4 h5 h6 blockquote pre section header footer article hr".split())  # noqa: SIM905 - one line of words
_HIDDEN = frozenset({"style", "script", "head", "title", "template"})


_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905 - one line of words
_NOT_SHOWN = re.compile(r"display\s*:\s*none", re.IGNORECASE)


def plan(skeleton: str) -> Text:
    """Write an HTML skeleton as text that waits for its values."""
    reader = _Reader()
    reader.feed(skeleton)
    reader.close()
    return Text([Line(" ".join(line.split()), collapse=True) for line in "".join(reader.found).split("\n")])


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._hidden: list[str] = []
        self._links: list[tuple[int, str]] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if self._hidden:
            # Only elements of the same name can end what is hidden too early.
            if tag == self._hidden[0]:
                self._hidden.append(tag)
        elif tag in _HIDDEN or (tag not in _VOID and _NOT_SHOWN.search(given.get("style") or "")):
            self._hidden.append(tag)
        elif tag in _BLOCKS:
            self.found.append("\n\n")
        elif tag == "br":
            self.found.append("\n")
        elif tag == "li":
            self.found.append("\n- ")
        elif tag == "a":
            self._links.append((len(self.found), given.get("href") or ""))
        elif tag == "img":
            self.found.append(text.clear(given.get("alt") or ""))

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag == self._hidden[0]:
                self._hidden.pop()
        elif tag in _BLOCKS:
            self.found.append("\n\n")
        elif tag in ("td", "th"):
            self.found.append(" ")
        elif tag == "a" and self._links:
            at, target = self._links.pop()
            if target:
                self.found[at:] = [text.link(re.sub(r"\s+", " ", "".join(self.found[at:])), target)]

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(re.sub(r"\s+", " ", text.clear(data)))
