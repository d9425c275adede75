"""Does the email bench measure what it says, at the size that it says?"""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import email
from bench.common import Options


def test_the_message_has_three_kilobytes_and_its_values() -> None:
    made = email._content(email._renderer(email.FORMATTED), 7)
    assert 2_900 < email._sizes()["html"] < 3_600
    assert "12 of Thing <11>" in made.text
    assert "€10.50" in made.text
    assert 'style="' in (made.html or "")


def test_each_contest_takes_time() -> None:
    assert email._messages(email._renderer(), 5) > 0
    assert email._messages(email._renderer(), 5, cold=True) > 0
    assert email._signed(Ed25519PrivateKey.generate(), 5) > 0


def test_a_report_says_what_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    contests: dict[str, Any] = {
        "template to MIME": lambda count: count / 1_000,
        "send through the SES adapter": lambda count: count / 900,
        "peer premailer": lambda count: count / 100,
    }
    monkeypatch.setattr(email, "_contests", lambda: (contests, ["a note"]))
    found = email.run(Options(rounds=2, quick=True))
    assert [goal["reached"] for goal in found["goals"]] == [False, True]
    assert found["ratios"] == {"template to MIME / peer premailer": 10}
    assert "MISSED" in email.table(found)
    assert email.table(found).endswith("a note")
