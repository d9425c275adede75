"""Does the client read a stream the same wherever the network cuts it?"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.rig import CLIENT
from tests.support import program

READER = Path(__file__).with_name("events.js")

SAID = [
    {"op": "welcome", "user": "ärger"},
    {"op": "items", "items": [{"title": "naïve 漢字 🦊 ﷽"}, {"title": ""}]},
    {"op": "message", "data": {"text": "a\u2028event: close\u2029data: {}\u2028\x85b"}},
    {"op": "message", "data": {"text": 'one\ntwo\r\nevent: close\n\ndata: "'}},
]


def written(text: str) -> str:
    """An event as the server writes it: a line break between tokens begins another line of data."""
    return f"id: 1-a:7\ndata: {text.replace(chr(10), chr(10) + 'data: ')}\n\n"


def told(stream: str) -> list[tuple[int, dict[str, object]]]:
    command = [program("node", package="nodejs"), str(READER), str(CLIENT / "src" / "events.js")]
    done = subprocess.run(command, input=stream.encode(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    found: list[tuple[int, dict[str, object]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("indent", [None, 1])
def test_events_are_the_same_wherever_the_stream_is_cut(indent: int | None) -> None:
    texts = [json.dumps(each, ensure_ascii=False, indent=indent) for each in SAID]
    stream = "retry: 3000\n\n" + ":\n\n".join(map(written, texts)) + 'event: close\ndata: {"code":4000}\n\n'
    ((times, answer),) = told(stream)
    assert times == 2 * len(stream.encode())
    found = answer["found"]
    assert isinstance(found, list)
    assert [(each["name"], each["data"]) for each in found] == [
        *(("", text) for text in texts),
        ("close", '{"code":4000}'),
    ]


def test_half_an_event_is_none_but_shows_that_somebody_is_there() -> None:
    ((_, answer),) = told('data: {"op":"welc')
    assert answer == {"found": [], "stirred": True}
