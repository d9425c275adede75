"""How are texts made short enough for a limit of bytes, without cutting a character in half?

What a person takes for one character may be many code points (an emoji with a skin tone, a flag, a letter with its
accents): a text is cut between extended grapheme clusters only (Unicode Standard Annex #29), and an ellipsis shows
that it was. A cluster of more than ``CLUSTER`` code points is no character of any script but a letter under a heap of
marks, made to be too long: it may be cut, or a name like that would silence every push it stands in. How long a text is
in the end, its place decides (escapes, other fields), so that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import regex

ELLIPSIS = "…"

CLUSTER = 32
"""Code points; sequences of emoji have 10 at most (Unicode Technical Standard #51)."""

_CLUSTER = regex.compile(r"\X")


def shrink(texts: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> tuple[str, ...] | None:
    """The texts, cut as little as needed: the first before the second is touched, and so on.

    ``fits`` says whether texts in these places are short enough; whatever fits must fit shorter, too. None when
    they don't fit even with one character each.
    """
    kept = list(texts)
    if fits(kept):
        return tuple(kept)
    for at, text in enumerate(texts):
        if len(text) < 2:
            continue
        clusters = _ends(text)
        low, high = 1, len(clusters)
        if high < 2:
            continue
        kept[at] = _cut(text, clusters[0])
        if not fits(kept):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            kept[at] = _cut(text, clusters[middle - 1])
            low, high = (middle, high) if fits(kept) else (low, middle)
        kept[at] = _cut(text, clusters[low - 1])
        return tuple(kept)
    return None


def first(text: str, most: int) -> str:
    """As many whole characters from the start of a text as have ``most`` code points at the most."""
    if len(text) <= most:
        return text
    return text[: max((end for end in _ends(text[: most + CLUSTER]) if end <= most), default=0)]


def _ends(text: str) -> list[int]:
    """Where each cluster of a text ends, or a piece of one that is too long."""
    return [
        min(start + CLUSTER, match.end())
        for match in _CLUSTER.finditer(text)
        for start in range(match.start(), match.end(), CLUSTER)
    ]


def _cut(text: str, end: int) -> str:
    return text[:end].rstrip() + ELLIPSIS
