"""Are ids in time order inside, and unmistakable outside?"""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.ids import attempt_id, external, internal, new_id

moments = st.integers(0, 2**48 - 1)
entropy = st.binary(min_size=10, max_size=10)


@given(moments, entropy, moments, entropy)
def test_ids_are_version_7_in_time_order(now: int, a: bytes, later: int, b: bytes) -> None:
    first, second = new_id(now, a), new_id(later, b)
    assert first.version == 7
    assert first.variant == UUID(int=2 << 62).variant
    assert first.int >> 80 == now
    if now != later:
        assert (first < second) == (now < later)


@given(entropy, entropy)
def test_chance_makes_ids_of_one_moment_different(a: bytes, b: bytes) -> None:
    known = int.from_bytes(a, "big") ^ int.from_bytes(b, "big")
    differs = known & ~(0xF << 76) & ~(0x3 << 62)
    assert (new_id(1, a) != new_id(1, b)) == bool(differs)


@given(moments, entropy, st.sampled_from(["ntf", "dlv", "att"]))
def test_what_goes_out_comes_back(now: int, chance: bytes, prefix: str) -> None:
    value = new_id(now, chance)
    text = external(prefix, value)
    assert internal(prefix, text) == value
    assert "." not in text
    for other in {"ntf", "dlv", "att"} - {prefix}:
        assert internal(other, text) is None


GOOD = "ntf_" + "0" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ntf_",
        GOOD[:-1],
        GOOD + "0",
        GOOD + "\n",
        "\n" + GOOD,
        GOOD.upper(),
        "ntf_" + "g" * 32,
        "usr_" + "0" * 32,
        "ntf_" + "\u0660" * 32,
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    assert internal("ntf", text) is None


def test_a_call_is_named_after_its_delivery_and_number() -> None:
    value = new_id(1, bytes(10))
    assert attempt_id(value, 2) == f"att_{value.hex}_2"
