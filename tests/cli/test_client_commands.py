"""Do ``send``, ``tail`` and ``explain`` say what the node said, and take a no in one line?"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from ulak.cli import main
from ulak.cli.explain import told
from ulak.cli.tail import line, news

ROW = {
    "id": "dlv_1",
    "user": "ada",
    "channel": "email",
    "state": "skipped",
    "reason": "read",
    "planned_at": "2026-01-01T10:00:00Z",
    "settled_at": "2026-01-01T10:00:02Z",
}
TIMELINE = {
    "notification": {"id": "ntf_1", "type": "issues", "class": "transactional", "accepted_at": "2026-01-01T10:00:00Z"},
    "deliveries": [
        ROW
        | {
            "decision": {"step": 1},
            "attempts": [
                {
                    "n": 1,
                    "account": "mail",
                    "started_at": "2026-01-01T10:00:01Z",
                    "reconcile_at": "2026-01-01T10:01:01Z",
                    "outcome": {
                        "kind": "retry",
                        "reason": "smtp_451",
                        "blame": "vendor",
                        "detail": "later",
                        "retry_at": "2026-01-01T10:00:05Z",
                        "at": "2026-01-01T10:00:01Z",
                    },
                },
                {
                    "n": 2,
                    "account": "mail",
                    "started_at": "2026-01-01T10:00:05Z",
                    "reconcile_at": "2026-01-01T10:01:05Z",
                    "outcome": None,
                },
            ],
            "receipts": [{"kind": "read", "source": "client", "at": "2026-01-01T10:00:06Z"}],
        }
    ],
}


class Node:
    """A node that answers from a table and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.asked.append((request.method, request.path_qs, dict(request.headers), json.loads(body) if body else None))
        if request.path == "/v1/notifications":
            if self.asked[-1][3]["type"] == "unknown":
                problem = {"code": "unknown_type", "detail": "no such type", "path": "$.type", "hint": "see /v1/types"}
                return web.json_response(problem, status=422, content_type="application/problem+json")
            problems = [{"path": "$.to[1]", "code": "invalid_email", "detail": "not an address"}]
            return web.json_response({"id": "ntf_1", "accepted": 1, "problems": problems}, status=202)
        if request.path == "/v1/notifications/ntf_1/timeline":
            return web.json_response(TIMELINE)
        if request.path == "/v1/deliveries":
            if "cursor" in request.query:
                return web.json_response({"items": [ROW | {"id": "dlv_0"}], "next": None})
            return web.json_response({"items": [ROW], "next": "on"})
        raise web.HTTPFound("http://127.0.0.1:1/elsewhere")


@pytest.fixture
def node() -> Iterator[Node]:
    """The node, served by a thread of its own."""
    node, ready, stop = Node(), threading.Event(), threading.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", node.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await asyncio.to_thread(stop.wait)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    yield node
    stop.set()
    thread.join(60)


def ulak(node: Node, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [*arguments, "--url", node.url, "--key", "ulk_test"], input=stdin)


def test_send_posts_once_and_shows_whom_it_could_not_use(node: Node, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"n": 1}')
    result = ulak(
        node, "send", "issues", "--to", "ada", "--topic", "all", "--data", f"@{tmp_path}/data.json",
        "--idempotency-key", "once", "--actor", "efe", "--channel", "email",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    method, path, headers, body = node.asked[0]
    assert (method, path) == ("POST", "/v1/notifications")
    assert headers["Idempotency-Key"] == "once"
    assert headers["Authorization"] == "Bearer ulk_test"
    assert body == {
        "type": "issues",
        "to": [{"user": "ada"}, {"topic": "all"}],
        "data": {"n": 1},
        "channels": ["email"],
        "actor": "efe",
    }
    assert "ntf_1  accepted for 1 of 1 user and whoever subscribes to all\n" in result.output
    assert "$.to[1]: not an address (invalid_email)" in result.output


def test_send_reads_standard_input_and_prints_json(node: Node) -> None:
    result = ulak(node, "send", "issues", "--to", "ada", "--data", "-", "--json", stdin='{"n": 2}')
    assert json.loads(result.output)["id"] == "ntf_1"
    assert node.asked[0][3]["data"] == {"n": 2}


@pytest.mark.parametrize("data", ["nonsense", "[1]", "@/nowhere/at/all"])
def test_send_refuses_data_that_is_no_object_before_it_asks(node: Node, data: str) -> None:
    result = ulak(node, "send", "issues", "--to", "ada", "--data", data)
    assert result.exit_code == 2
    assert not node.asked
    assert ulak(node, "send", "issues").exit_code == 2


@pytest.mark.parametrize("command", [["send", "issues", "--to", "ada"], ["tail", "--once"], ["explain", "ntf_1"]])
def test_no_key_and_no_url_are_told_with_what_to_do(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ULAK_API_KEY", raising=False)
    without = CliRunner().invoke(main, command)
    assert without.exit_code == 2
    assert "set ULAK_API_KEY or give --key" in without.output
    assert "ulak keys create" in without.output
    wrong = CliRunner().invoke(main, [*command, "--key", "k", "--url", "localhost:8080"])
    assert wrong.exit_code == 2
    assert "'localhost:8080', but begins with http:// or https://" in wrong.output


def test_a_refusal_is_told_with_path_and_hint(node: Node) -> None:
    result = ulak(node, "send", "unknown", "--to", "ada")
    assert result.exit_code == 1
    assert "422 unknown_type at $.type: no such type" in result.output
    assert "see /v1/types" in result.output


def test_no_node_is_told_as_such_and_no_redirect_is_followed(node: Node) -> None:
    result = CliRunner().invoke(main, ["explain", "ntf_1", "--url", "http://127.0.0.1:1", "--key", "k"])
    assert result.exit_code == 1
    assert "Is a node running at http://127.0.0.1:1?" in result.output
    assert ulak(node, "explain", "ntf_2").exit_code == 1
    assert "302" in ulak(node, "explain", "ntf_2").output


def test_explain_tells_the_timeline_in_order(node: Node) -> None:
    result = ulak(node, "explain", "ntf_1")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("ntf_1  issues (transactional)")
    marks = [
        "planned",
        "attempt 1 by mail",
        "attempt 1 retry (smtp_451, blame: vendor), again",
        "attempt 2 by",
        "receipt: read",
    ]
    places = [next(i for i, text in enumerate(lines) if mark in text) for mark in marks]
    assert places == sorted(places)
    assert json.loads(ulak(node, "explain", "ntf_1", "--json").output) == TIMELINE
    assert ulak(node, "explain", "usr_1").exit_code == 2


@pytest.mark.parametrize(("planned", "words"), [(False, "waits to be planned"), (True, "nobody to reach")])
def test_explain_of_no_delivery_says_why(planned: bool, words: str) -> None:
    notification: dict[str, Any] = {**TIMELINE["notification"], "planned": planned}  # type: ignore[dict-item]
    assert any(words in text for text in told({"notification": notification, "deliveries": []}))


def test_tail_walks_all_pages_and_shows_each_change_once(node: Node) -> None:
    result = ulak(node, "tail", "--once", "--user", "ada", "--json")
    assert [json.loads(text)["id"] for text in result.output.splitlines()] == ["dlv_0", "dlv_1"]
    assert "user=ada" in node.asked[0][1]
    shown: dict[str, str] = {}
    assert news([ROW], shown) == [ROW]
    assert news([ROW], shown) == []
    assert len(news([ROW | {"state": "accepted"}], shown)) == 1
    assert line(ROW) == "10:00:02  email    ada                      skipped (read)  dlv_1"


def test_tail_shows_in_the_order_of_time() -> None:
    early = ROW | {"id": "dlv_9", "settled_at": None}
    assert [row["id"] for row in news([ROW, early], {})] == ["dlv_9", "dlv_1"]
