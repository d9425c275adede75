"""Does the service worker show what came, and tell no more than what people did?

It runs under Node with a stand-in for what a browser gives it; that a real one runs it, ``tests/browsers`` shows.
"""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.clients.rig import CLIENT
from tests.support import program

RUNNER = Path(__file__).with_name("push_worker.js")
QUERY = "?api=https%3A%2F%2Fulak.example.com&version=4.2"


def did(*events: dict[str, Any], query: str = QUERY, **around: Any) -> list[list[Any]]:
    """All that the worker did, with an ``end`` after each event."""
    command = [program("node", package="nodejs"), str(RUNNER), str(CLIENT / "push-worker.js")]
    asked = json.dumps({"events": events, "query": query, **around})
    done = subprocess.run(command, input=asked.encode(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def push(title: str | None = "Hello", receipt: str | None = "r1", **more: Any) -> dict[str, Any]:
    """A push as our provider makes it."""
    told = {"notification": "ntf_1", "receipt": receipt} if receipt else {"notification": "ntf_1"}
    notification = {"title": title, "navigate": "https://app.example/42", "data": {"order": "42", "ulak": told}, **more}
    shown = {name: value for name, value in notification.items() if value is not None}
    return {"type": "push", "payload": {"web_push": 8030, "notification": shown, "app_badge": 3}}


def said(actions: list[list[Any]]) -> list[tuple[str, str]]:
    """Receipts that were told, with the event."""
    return [(each[2]["receipt"], each[2]["event"]) for each in actions if each[0] == "fetch"]


def of(name: str, actions: list[list[Any]]) -> list[list[Any]]:
    return [each[1:] for each in actions if each[0] == name]


def test_it_shows_what_came_and_says_so_afterwards() -> None:
    actions = did(push(body="text", icon="https://a/i.png", tag="t"))
    ((title, options),) = of("show", actions)
    assert title == "Hello"
    assert {name: options[name] for name in ("body", "icon", "tag", "actions")} == {
        "body": "text", "icon": "https://a/i.png", "tag": "t", "actions": []
    }  # fmt: skip
    assert options["data"]["order"] == "42"
    assert [each[0] for each in actions] == ["badge", "show", "fetch", "end"]
    ((url, body, headers, rest),) = of("fetch", actions)
    assert url == "https://ulak.example.com/v1/receipts/push"
    assert datetime.fromisoformat(body.pop("at")).tzinfo is not None
    assert body == {"receipt": "r1", "event": "shown", "app_version": "4.2"}
    assert headers == {"content-type": "application/json"}
    assert rest == {"method": "POST", "credentials": "omit", "keepalive": True}


def test_without_a_query_it_asks_its_own_origin_and_names_no_version() -> None:
    ((url, body, *_),) = of("fetch", did(push(), query=""))
    assert url == "https://app.example/v1/receipts/push"
    assert "app_version" not in body


def test_what_could_not_be_shown_is_not_told_as_shown() -> None:
    actions = did(push(), broken=["show"])
    assert said(actions) == []
    assert actions[-1] == ["end", "show is broken"]


def test_a_receipt_that_can_not_be_told_and_a_badge_that_can_not_be_set_spoil_nothing() -> None:
    actions = did(push(), broken=["fetch", "badge"])
    assert [each[0] for each in actions] == ["show", "end"]
    assert actions[-1] == ["end"]


def test_a_push_without_a_receipt_tells_nothing() -> None:
    actions = did(push(receipt=None), {"type": "notificationclick", "title": "Hello"})
    assert said(actions) == []
    assert of("open", actions) == [["https://app.example/42"]]


def test_a_silent_push_is_for_the_open_pages_only() -> None:
    event = push(title=None)
    actions = did(event, pages=["https://app.example/a", "https://app.example/b"])
    assert of("message", actions) == [
        [page, {"ulak": event["payload"]}] for page in ("https://app.example/a", "https://app.example/b")
    ]
    assert of("show", actions) == []
    assert said(actions) == []


def test_what_the_browser_shows_by_itself_is_only_told() -> None:
    proposed = {"title": "Hello", "data": {"ulak": {"receipt": "r1"}}}
    actions = did({"type": "push", "proposed": proposed})
    assert [each[0] for each in actions] == ["fetch", "end"]
    assert said(actions) == [("r1", "shown")]


def test_a_click_opens_the_page_or_brings_it_to_the_front() -> None:
    click = {"type": "notificationclick", "title": "Hello"}
    actions = did(push(), click)
    assert of("open", actions) == [["https://app.example/42"]]
    assert of("close", actions) == [["Hello"]]
    assert said(actions) == [("r1", "shown"), ("r1", "opened")]
    actions = did(push(), click, pages=["https://app.example/", "https://app.example/42"])
    assert of("open", actions) == []
    assert of("focus", actions) == [["https://app.example/42"]]


def test_a_button_opens_its_own_page() -> None:
    buttons = [{"action": "track", "title": "Track", "navigate": "/track"}, {"action": "hide", "title": "Hide"}]
    event = push(actions=buttons)
    ((_, options),) = of("show", did(event))
    assert options["actions"] == [{"action": "track", "title": "Track"}, {"action": "hide", "title": "Hide"}]
    for action, url in (("track", "https://app.example/track"), ("hide", "https://app.example/42")):
        actions = did(event, {"type": "notificationclick", "title": "Hello", "action": action})
        assert of("open", actions) == [[url]]
        assert said(actions)[-1] == ("r1", "opened")


def test_what_a_person_puts_away_is_told() -> None:
    assert said(did(push(), {"type": "notificationclose", "title": "Hello"})) == [("r1", "shown"), ("r1", "dismissed")]


def test_what_was_opened_or_replaced_was_not_put_away() -> None:
    closed = {"type": "notificationclose", "title": "Hello"}
    actions = did(push(), {"type": "notificationclick", "title": "Hello"}, closed)
    assert said(actions) == [("r1", "shown"), ("r1", "opened")]
    actions = did(push(tag="t"), push("Newer", "r2", tag="t"), {"type": "notificationclose", "title": "Newer"})
    assert said(actions) == [("r1", "shown"), ("r2", "shown"), ("r2", "dismissed")]
