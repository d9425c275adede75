"""Are texts cut as little as needed, and never inside what people take for one character?"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.content.shrink import ELLIPSIS, shrink

FAMILY = "👨‍👩‍👧‍👦"
FLAG = "🇹🇷"
THUMB = "👍🏽"
ACCENTS = "é̂"

texts = st.lists(
    st.lists(st.sampled_from(["a", "ß", '"', "\n", "漢", " ", FAMILY, FLAG, THUMB, ACCENTS]), max_size=40).map("".join),
    min_size=1,
    max_size=3,
)


def size(given: Sequence[str]) -> int:
    return len(json.dumps(given, ensure_ascii=False).encode())


def clusters(text: str) -> list[str]:
    return regex.findall(r"\X", text)


@given(texts, st.integers(10, 400))
def test_what_comes_back_fits_and_is_made_of_whole_characters(given_texts: list[str], limit: int) -> None:
    cut = shrink(given_texts, lambda now: size(now) <= limit)
    if cut is None:
        return
    assert size(cut) <= limit
    for before, after in zip(given_texts, cut, strict=True):
        if after != before:
            kept = after.removesuffix(ELLIPSIS)
            assert after.endswith(ELLIPSIS)
            assert clusters(before)[: len(clusters(kept))] == clusters(kept)


@given(texts, st.integers(10, 400))
def test_no_more_is_cut_than_needed(given_texts: list[str], limit: int) -> None:
    def fits(now: Sequence[str]) -> bool:
        return size(now) <= limit

    cut = shrink(given_texts, fits)
    if cut is None or cut == tuple(given_texts):
        assert (cut is None) != fits(given_texts)
        return
    last = max(at for at, (before, after) in enumerate(zip(given_texts, cut, strict=True)) if before != after)
    kept = clusters(cut[last].removesuffix(ELLIPSIS))
    more = clusters(given_texts[last])[: len(kept) + 1]
    longer = [*cut]
    longer[last] = "".join(more).rstrip() + ELLIPSIS
    # One character more would not fit, unless it is a blank, which is not kept before the ellipsis.
    assert more[-1].isspace() or cut[last].startswith(ELLIPSIS) or not fits(longer) or len(more) == len(kept)


def test_the_first_text_gives_way_before_the_second() -> None:
    cut = shrink(["body " * 30, "title"], lambda now: size(now) <= 60)
    assert cut is not None
    assert cut[0].endswith(ELLIPSIS)
    assert cut[1] == "title"


def test_an_emoji_of_seven_code_points_is_kept_or_dropped_as_one() -> None:
    cut = shrink([FAMILY * 4], lambda now: size(now) <= 70)
    assert cut == (FAMILY * 2 + ELLIPSIS,)


def test_what_fits_is_left_alone_and_what_never_fits_is_said() -> None:
    assert shrink(["short"], lambda now: True) == ("short",)
    assert shrink(["long enough"], lambda now: False) is None
    assert shrink(["", "x"], lambda now: False) is None


@pytest.mark.parametrize("heap", ["a" + "\u0301" * 4_000, "👨" + "\u200d👨" * 2_000, "\u0645" + "\u0651" * 4_000])
def test_a_heap_of_marks_under_one_letter_can_be_cut(heap: str) -> None:
    cut = shrink([f"{heap} wrote to you", "A letter"], lambda now: size(now) <= 1_000)
    assert cut is not None
    assert size(cut) <= 1_000
    assert cut[1] == "A letter"
    assert cut[0].startswith(heap[:100])
