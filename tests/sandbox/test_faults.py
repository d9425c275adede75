"""Do armed faults go off where, for whom and as often as they were told to?"""

from __future__ import annotations

import pytest

from ulak.sandbox.faults import At, Fault, FaultBook, decode


def fired(fault: dict[str, object], chances: int, to: str = "ada@example.com") -> list[int]:
    book = FaultBook()
    book.arm(decode(fault))
    return [n for n in range(1, chances + 1) if book.due(At.RCPT, (to,))]


def test_counting() -> None:
    base: dict[str, object] = {"at": "rcpt", "do": "drop"}
    assert fired(base, 3) == [1, 2, 3]
    assert fired({**base, "times": 2}, 5) == [1, 2]
    assert fired({**base, "skip": 2, "times": 1}, 5) == [3]
    assert fired({**base, "every": 3}, 9) == [3, 6, 9]
    assert fired({**base, "every": 2, "skip": 1, "times": 2}, 9) == [3, 5]
    assert fired({**base, "times": 0}, 3) == []


def test_recipients() -> None:
    base: dict[str, object] = {"at": "rcpt", "do": "drop", "to": "*@Slow.example"}
    assert fired(base, 1, "Ada@slow.EXAMPLE") == [1]
    assert fired(base, 1, "ada@example.com") == []


def test_the_first_that_fits_goes_off_and_others_keep_their_chances() -> None:
    book = FaultBook()
    book.arm(decode([{"at": "rcpt", "do": "reply", "code": 450, "times": 1}, {"at": "rcpt", "do": "drop"}]))
    first, second = book.due(At.RCPT, ()), book.due(At.RCPT, ())
    assert isinstance(first, Fault)
    assert isinstance(second, Fault)
    assert (first.code, second.do) == (450, "drop")
    assert book.due(At.MAIL) is None
    assert [(row["chances"], row["fired"]) for row in book.report()] == [(1, 1), (1, 1)]
    book.clear()
    assert book.due(At.RCPT, ()) is None


def test_what_counts_as_taken() -> None:
    taken = [decode({"at": "end", "do": do})[0].take for do in ("reply", "drop", "stall")]
    assert taken == [False, True, True]
    assert decode({"at": "end", "do": "reply", "take": True})[0].take
    assert not decode({"at": "end", "do": "drop", "take": False})[0].take


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (1, "a fault"),
        ([[]], "a fault"),
        ({}, "at"),
        ({"at": "lunch", "do": "drop"}, "at"),
        ({"at": "mail"}, "do"),
        ({"at": "mail", "do": "drop", "colour": 1}, "colour"),
        ({"at": "mail", "do": "drop", "to": "x"}, "to"),
        ({"at": "body", "do": "reply"}, "do"),
        ({"at": "mail", "do": "reply", "code": "451"}, "code"),
        ({"at": "mail", "do": "reply", "code": 99}, "code"),
        ({"at": "mail", "do": "reply", "text": "a\r\nb"}, "text"),
        ({"at": "mail", "do": "drop", "times": True}, "times"),
        ({"at": "mail", "do": "drop", "every": 0}, "every"),
        ({"at": "mail", "do": "stall", "seconds": -1}, "seconds"),
        ({"at": "mail", "do": "stall", "seconds": "1"}, "seconds"),
    ],
)
def test_a_wrong_fault_names_its_key(given: object, key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}"):
        decode(given)
