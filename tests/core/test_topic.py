"""Is what listeners see JSON?"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ulak.core.topic import message_text, notice_text

NOW = datetime(2026, 3, 1, 12, 0, 0, 5_000, UTC)


@given(st.text(min_size=1))
def test_whatever_the_topic_is_called_the_message_is_json(topic: str) -> None:
    said = json.loads(message_text(topic, '{"home":1}', NOW))
    assert said == {"op": "message", "topic": topic, "data": {"home": 1}, "at": "2026-03-01T12:00:00.005Z"}


def test_a_notice_is_json() -> None:
    assert json.loads(notice_text("{}", NOW)) == {"op": "notice", "data": {}, "at": "2026-03-01T12:00:00.005Z"}
