"""What does the helper ask of a browser and of Ulak, when it has a subscription already, or may not have one?

It runs under Node with a stand-in for the browser; that a real one subscribes by it, ``tests/browsers`` shows.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.rig import CLIENT
from tests.support import program

RUNNER = Path(__file__).with_name("push.js")
OLD, NEW, LOST = "BAold_-1", "BAnew_-2", "BAlost-3"
SERVERS = [{"account": "new", "key": NEW, "apps": []}, {"account": "old", "key": OLD, "apps": []}]
BEARER = "Bearer tok"


def did(*calls: str, **around: Any) -> list[list[Any]]:
    """All that was asked, in order, with each call's ``answer`` or ``error``."""
    command = [program("node", package="nodejs"), str(RUNNER), str(CLIENT / "push.js")]
    asked = json.dumps({"calls": calls, "servers": SERVERS, **around}).encode()
    done = subprocess.run(command, input=asked, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def registered(key: str, **more: Any) -> list[Any]:
    """The call that registers a browser which subscribed with this key."""
    body = {"kind": "webpush", "app": "https://app.example", "application_server_key": key, **more}
    subscription = {"endpoint": f"https://push.example/{key}", "keys": {}}
    return ["PUT", "https://app.example/v1/me/devices/ID", BEARER, {**body, "subscription": subscription}]


def test_a_browser_subscribes_with_the_first_key_and_is_registered() -> None:
    assert did("subscribe") == [
        ["register", "/push-worker.js?api=https%3A%2F%2Fapp.example"],
        ["GET", "https://app.example/v1/me/devices", BEARER, None],
        ["subscribe", NEW, True],
        registered(NEW),
        ["answer", {"id": "dev_1"}],
    ]


def test_it_goes_where_it_is_told_and_names_app_and_version() -> None:
    options = {"url": "https://ulak.example.com", "worker": "/w.js", "app": "shop", "version": "4.2"}
    worker, asked, _, put, _ = did("subscribe", options=options)
    assert worker == ["register", "/w.js?api=https%3A%2F%2Fulak.example.com&version=4.2"]
    assert asked[1] == "https://ulak.example.com/v1/me/devices"
    assert put[1] == "https://ulak.example.com/v1/me/devices/ID"
    assert (put[3]["app"], put[3]["app_version"]) == ("shop", "4.2")


@pytest.mark.parametrize("key", [NEW, OLD])
def test_a_subscription_whose_key_is_still_known_stays(key: str) -> None:
    actions = did("subscribe", found=key)
    assert actions[2:] == [registered(key), ["answer", {"id": "dev_1"}]]


def test_a_subscription_whose_key_is_gone_is_made_anew() -> None:
    assert did("subscribe", found=LOST)[2:5] == [["unsubscribe", LOST], ["subscribe", NEW, True], registered(NEW)]


def test_only_accounts_for_this_app_count() -> None:
    servers = [{"account": "a", "key": OLD, "apps": ["https://other.example"]}]
    mine = {"account": "b", "key": NEW, "apps": ["https://app.example"]}
    assert ["subscribe", NEW, True] in did("subscribe", servers=[*servers, mine])
    refused = did("subscribe", servers=servers)
    assert refused[-1] == ["error", "Error: no account of Ulak's sends Web Push to this app"]
    assert [each[0] for each in refused] == ["register", "GET", "error"]


@pytest.mark.parametrize(
    "around",
    [
        {"permission": "denied"},
        {"permission": "default"},
        {"lacks": ["serviceWorker"]},
        {"lacks": ["PushManager"]},
        {"lacks": ["Notification"]},
    ],
)
def test_without_leave_or_means_nothing_is_asked(around: dict[str, Any]) -> None:
    assert did("subscribe", **around) == [["answer", None]]
    assert did("supported", **around) == [["answer", "lacks" not in around]]


def test_a_log_out_ends_the_subscription_and_the_device() -> None:
    actions = did("subscribe", "unsubscribe")[5:]
    path = "https://app.example/v1/me/devices/ID?app=https%3A%2F%2Fapp.example"
    assert actions == [["unsubscribe", NEW], ["DELETE", path, BEARER, None], ["answer", None]]


def test_logging_out_twice_or_of_what_never_was_is_no_error() -> None:
    assert did("unsubscribe") == [["answer", None]]
    assert did("subscribe", "unsubscribe", answers={"DELETE": 404})[-1] == ["answer", None]


def test_a_refusal_is_told_with_its_status() -> None:
    for method in ("GET", "PUT"):
        (said,) = did("subscribe", answers={method: 422})[-1][1:]
        assert said.startswith(f"Error: {method} /v1/me/devices: 422 ")
    assert did("subscribe", "unsubscribe", answers={"DELETE": 500})[-1][0] == "error"
