"""Are failpoints read strictly, and silent unless asked for?"""

from __future__ import annotations

import pytest

from ulak.core.failpoint import NAMES, NoFailpoints, parse


def test_names_and_counts() -> None:
    assert parse("") == {}
    assert parse("plan.before_commit") == {"plan.before_commit": 1}
    assert parse(" attempt.after_reply:3 , accept.after_commit:1,") == {
        "attempt.after_reply": 3,
        "accept.after_commit": 1,
    }
    assert set(parse(",".join(NAMES))) == set(NAMES)


@pytest.mark.parametrize("text", ["plan", "attempt.after_reply:x", "attempt.after_reply:", "nothing:1"])
def test_what_no_stage_has_is_refused(text: str) -> None:
    if text.endswith(":"):
        assert parse(text) == {"attempt.after_reply": 1}
    else:
        with pytest.raises(ValueError):
            parse(text)


def test_without_failpoints_every_line_is_passed() -> None:
    for name in NAMES:
        NoFailpoints().hit(name)
