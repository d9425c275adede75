"""What do those who listen to a topic, and those who are connected, see of an ephemeral message?"""

from __future__ import annotations

import json
from datetime import UTC, datetime

MAX_DATA = 8_192
"""Bytes of an ephemeral message's ``data`` in canonical JSON."""


def message_text(topic: str, data: str, at: datetime) -> str:
    """What a topic's listeners are sent; ``data`` is JSON already."""
    return f'{{"op":"message","topic":{json.dumps(topic, ensure_ascii=False)},"data":{data},"at":"{_time(at)}"}}'


def notice_text(data: str, at: datetime) -> str:
    """What every open connection of the tenant is sent."""
    return f'{{"op":"notice","data":{data},"at":"{_time(at)}"}}'


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
