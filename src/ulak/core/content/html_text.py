"""What does an HTML email say as plain text?

Reads the skeleton (placeholders still inside) with the standard library's parser: blocks become lines,
links ``text (url)``, list items ``- text``; what a browser does not show is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser

from ulak.core.content import fill

_BLOCKS = frozenset("p div tr table ul ol h1 h2 h3 h4 h5 h6 blockquote pre section header footer article hr".split())  # noqa: SIM905 - one line of words
_HIDDEN = frozenset({"style", "script", "head", "title", "template"})


def text(skeleton: str, values: Sequence[str]) -> str:
    """Write an HTML skeleton as text, filled with values."""
    reader = _Reader(values)
    reader.feed(skeleton)
    reader.close()
    lines = [" ".join(line.split()) for line in "".join(reader.found).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


class _Reader(HTMLParser):
    def __init__(self, values: Sequence[str]) -> None:
        super().__init__()
        self._values = values
        self._hidden = 0
        self._links: list[tuple[int, str | None]] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag in _BLOCKS:
            self.found.append("\n\n")
        elif tag == "br":
            self.found.append("\n")
        elif tag == "li":
            self.found.append("\n- ")
        elif tag == "a":
            target = next((value for name, value in attrs if name == "href" and value), "")
            self._links.append((len(self.found), fill.url(target, self._values) if target else None))
        elif tag == "img":
            self.found.append(self._fill(next((value for name, value in attrs if name == "alt" and value), "")))

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(self._hidden - 1, 0)
        elif tag in _BLOCKS:
            self.found.append("\n\n")
        elif tag in ("td", "th"):
            self.found.append(" ")
        elif tag == "a" and self._links:
            at, target = self._links.pop()
            words = "".join(self.found[at:]).strip()
            if target and target not in (words, f"mailto:{words}", f"tel:{words}"):
                self.found.append(f" ({target})" if words else target)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(self._fill(re.sub(r"\s+", " ", data)))

    def _fill(self, skeleton: str) -> str:
        return fill.plain(skeleton, self._values)
