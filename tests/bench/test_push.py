"""Does the push bench measure what it says?"""

from __future__ import annotations

from typing import Any

import pytest

from bench import push
from bench.common import Options


def test_the_bodies_hold_what_an_app_needs() -> None:
    for name in push.KINDS:
        assert 400 < push._payload(name) < 1_000


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(push.KINDS))
def test_each_contest_sends_and_takes_time(name: str) -> None:
    assert push._ours(name, 150) > 0


def test_a_report_says_what_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    contests: dict[str, Any] = {
        "APNs": lambda count: count / 3_000,
        "FCM": lambda count: count / 1_500,
        "Web Push": lambda count: count / 1_200,
        "peer aioapns": lambda count: count / 1_500,
    }
    monkeypatch.setattr(push, "_contests", lambda: (contests, ["a note"]))
    found = push.run(Options(rounds=2, quick=True))
    assert [goal["reached"] for goal in found["goals"]] == [True, False, True, True]
    assert found["ratios"] == {"APNs / peer aioapns": 2}
    assert "MISSED" in push.table(found)
    assert push.table(found).endswith("a note")
