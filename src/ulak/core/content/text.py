"""What is the plain text of an email before the values are in it, and how does it take them?

Lines, each with the prefix of its quote or list; a value of several lines keeps that prefix. Whether a link
shows its address depends on the values, too: not when its words are the address already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ulak.core.content import fill
from ulak.core.engine import PLACE

LINK, TO, END = "\x01", "\x02", "\x03"
"""What marks a link whose words or address have a placeholder: words between the first two, then the address."""

_LINK = re.compile(f"{LINK}([^{LINK}{TO}{END}]*){TO}([^{END}]*){END}")
_MARKS = re.compile(f"[{LINK}{TO}{END}]")
_GAP = re.compile(r"\n{3,}")


def clear(text: str) -> str:
    """A text of the author's without the characters that mark links here."""
    return _MARKS.sub("", text)


def link(words: str, skeleton: str) -> str:
    """A link as text: ``words (address)``, or a mark for what the values decide; words stay on one line."""
    words = words.strip().replace("\n", " ")
    if PLACE.search(skeleton) is not None or PLACE.search(words) is not None:
        return f"{LINK}{words}{TO}{skeleton}{END}"
    return _linked(words, fill.url(skeleton, ()))


def _linked(words: str, target: str | None) -> str:
    if not target or target in (words, f"mailto:{words}", f"tel:{words}"):
        return words
    return f"{words} ({target})" if words else target


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the skeleton; ``first`` stands before it, ``rest`` before what a value adds to it.

    ``collapse`` makes white space single spaces; ``keep`` leaves it alone, as in code.
    """

    skeleton: str
    first: str = ""
    rest: str = ""
    keep: bool = False
    collapse: bool = False

    def fill(self, values: Sequence[str]) -> str:
        """The line, or lines, with these values."""
        text = self.skeleton
        if LINK in text:
            parts = _LINK.split(text)
            for at in range(0, len(parts), 3):
                parts[at] = fill.plain(parts[at], values)
            for at in range(1, len(parts), 3):
                parts[at] = _linked(fill.plain(parts[at], values).strip(), fill.url(parts[at + 1], values))
                parts[at + 1] = ""
            text = "".join(parts)
        else:
            text = fill.plain(text, values)
        if "\n" not in text:
            return (self.first + self._tidy(text)).rstrip()
        first, *more = text.strip("\n").split("\n")
        lines = [self.first + self._tidy(first), *(self.rest + self._tidy(each) for each in more)]
        return "\n".join([each.rstrip() for each in lines])

    def _tidy(self, text: str) -> str:
        if self.collapse:
            return " ".join(text.split())
        return text if self.keep else text.strip()


class Text:
    """A whole text: lines that wait for values, and blocks that need none."""

    __slots__ = ("lines", "size")

    def __init__(self, lines: Sequence[Line | str]) -> None:
        self.lines: list[Line | str] = []
        for each in lines:
            if isinstance(each, Line) and PLACE.search(each.skeleton) is not None:
                self.lines.append(each)
                continue
            block = each if isinstance(each, str) else each.fill(())
            if self.lines and isinstance(last := self.lines[-1], str):
                self.lines[-1] = f"{last}\n{block}"
            else:
                self.lines.append(block)
        self.size = sum(len(each) if isinstance(each, str) else len(each.skeleton) for each in self.lines)

    def fill(self, values: Sequence[str]) -> str:
        """The text with these values: no blank line at either end, never two in a row."""
        text = "\n".join([each if isinstance(each, str) else each.fill(values) for each in self.lines])
        return _GAP.sub("\n\n", text).strip("\n") + "\n"

    def within(self, around: str, mark: str) -> Text:
        """This text in the middle of another, where the mark stands."""
        before, _, after = around.partition(mark)
        return Text([*verbatim(before).lines, "", *self.lines, "", *verbatim(after).lines])


def verbatim(skeleton: str) -> Text:
    """A text as its author laid it out."""
    return Text([Line(each, keep=True) for each in clear(skeleton).strip().split("\n")])
