"""Does the server's side of ``ulak.v1`` keep every promise of the protocol, whatever is said and in whatever order?"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ulak.core import session_page
from ulak.core.ids import external
from ulak.core.inbox import Item, News, Op, Page, full_text, new_text, origin_text
from ulak.core.invalid import Invalid
from ulak.core.session import Session
from ulak.core.session_actions import (
    Acked,
    Action,
    Authenticate,
    Fetch,
    Mark,
    Refresh,
    Send,
    Subscribe,
    Unsubscribe,
)
from ulak.core.session_commands import (
    CLOSE_CODES,
    COMMANDS,
    ERRORS,
    Ack,
    Close,
    Command,
    Limits,
    parse,
    plain_ack,
    read_frame,
)
from ulak.core.session_texts import live_texts

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DLV = external("dlv", UUID(int=1))
NAMES = {row.code: row.name for row in CLOSE_CODES.values()}


def item(n: int, revision: int | None = None, **changes: Any) -> Item:
    made = Item(UUID(int=n), n, n, UUID(int=1000 + n), "issues", '{"title":"t"}', NOW)
    return replace(made, revision=revision or n, **changes)


def page(*items: Item, since: int = 0, top: int | None = None, more: bool = False, **changes: Any) -> Page:
    newest = top if top is not None else max((i.revision for i in items), default=since)
    return replace(Page(since, newest, 0, 0, 0, "1-a", items, more), **changes)


def say(session: Session, *commands: object, now: float = 0.0) -> list[Action]:
    return session.receive(json.dumps(list(commands) if len(commands) > 1 else commands[0]), now)


def frames(actions: list[Action]) -> list[dict[str, Any]]:
    return [json.loads(action.text) for action in actions if isinstance(action, Send)]


def closed(actions: list[Action]) -> str:
    close = actions[-1]
    assert isinstance(close, Close)
    assert close.reason.startswith(NAMES[close.code])
    return NAMES[close.code]


def opened(first: Page | None = None, **hello: Any) -> tuple[Session, list[Action]]:
    session = Session("c1", 0.0)
    assert say(session, {"op": "hello", "token": "t", **hello}) == [Authenticate("t", None)]
    fetch = session.authenticated("ann", 1e12)
    since = hello.get("since") or 0
    assert fetch == [Fetch(since)]
    return session, session.page(first or page(since=since))


# -------------------------------------------------------------------------------------------------- news


def told_live(session: Session, news: News) -> list[dict[str, Any]]:
    return [json.loads(text) for text in live_texts(news)] if session.live(news) else []


def test_news_that_follow_are_told_without_a_read() -> None:
    session, _ = opened(page(item(1), unread=1))
    news = News(0, "ann", 2, full_text(item(2)), 2, 1, "1-a")
    items, count = told_live(session, news)
    assert (items["prev"], items["revision"], items["more"]) == (1, 2, False)
    assert items["items"] == [json.loads(full_text(item(2)))]
    assert count == {"op": "count", "unread": 2, "unseen": 1, "revision": 2}
    assert session.sent == 2
    assert told_live(session, news) == [], "twice"
    assert session.hinted(2) == []


@pytest.mark.parametrize(
    "change",
    [{"revision": 3}, {"revision": 1}, {"item": None}, {"unread": -1}, {"epoch": "2-a"}, {"epoch": ""}],
    ids=str,
)
def test_news_that_do_not_follow_are_not_told(change: dict[str, Any]) -> None:
    session, _ = opened(page(item(1)))
    news = structs.replace(News(0, "ann", 2, full_text(item(2)), 1, 1, "1-a"), **change)
    assert told_live(session, news) == []
    assert session.sent == 1


def test_news_are_not_told_while_a_read_is_under_way_or_the_client_is_slow() -> None:
    news = News(0, "ann", 2, full_text(item(2)), 1, 1, "1-a")
    session, _ = opened(page(item(1)))
    session.hinted(2)
    assert told_live(session, news) == []
    session, _ = opened(page(item(1)))
    session.hold(0.0)
    assert told_live(session, news) == []
    assert session.hinted(2) == []
    assert session.release() == [Fetch(1)]


def test_a_new_item_reads_the_same_live_and_from_the_inbox() -> None:
    for content in ("{}", '{"title":"t"}', ' {"title": "a } b"} '):
        stored = replace(item(3), content=content)
        origin = origin_text(stored.type, stored.notification, stored.created_at)
        assert new_text(stored.id, 3, origin, content) == full_text(stored)


# -------------------------------------------------------------------------------------------------- hello


def test_hello_welcome_and_everything_there_is() -> None:
    session, actions = opened(page(item(1), item(2, seen_at=NOW), unread=2, unseen=1))
    welcome, items, count = frames(actions)
    assert welcome == {
        "op": "welcome",
        "connection": "c1",
        "user": "ann",
        "revision": 2,
        "epoch": "1-a",
        "full": True,
        "ping": 25,
    }
    assert (items["op"], items["prev"], items["revision"], items["more"]) == ("items", 0, 2, False)
    assert items["items"][0] == {
        "id": DLV,
        "revision": 1,
        "type": "issues",
        "notification": external("ntf", UUID(int=1001)),
        "created_at": "2026-11-22T12:00:00.000Z",
        "seen_at": None,
        "read_at": None,
        "archived_at": None,
        "title": "t",
    }
    assert items["items"][1]["seen_at"] == "2026-11-22T12:00:00.000Z"
    assert count == {"op": "count", "unread": 2, "unseen": 1, "revision": 2}
    assert session.sent == 2


def test_a_resume_tells_only_what_changed() -> None:
    _, actions = opened(page(item(1, 4, read_at=NOW), item(5), since=3), since=3, epoch="1-a")
    welcome, items, _ = frames(actions)
    assert welcome["full"] is False
    assert [(i["id"], i["revision"]) for i in items["items"]] == [(DLV, 4), (external("dlv", UUID(int=5)), 5)]
    assert items["prev"] == 3
    assert "title" in items["items"][0], "after a resume nothing is known to be held"


@pytest.mark.parametrize(
    ("hello", "first"),
    [
        ({"since": 9, "epoch": "1-a"}, page(since=9, top=5)),
        ({"since": 3, "epoch": "1-b"}, page(since=3, top=5)),
        ({"since": 3}, page(since=3, top=5)),
        ({"since": 3, "epoch": "1-a"}, page(since=3, top=5, oldest=4)),
    ],
    ids=["above the top", "other epoch", "no epoch", "below the oldest tombstone"],
)
def test_an_offset_that_can_not_be_continued_leads_to_a_full_sync(hello: dict[str, Any], first: Page) -> None:
    session, actions = opened(first, **hello)
    assert frames(actions)[0]["full"] is True
    assert actions[-1] == Fetch(0)
    (items, _) = frames(session.page(page(item(2), item(5), top=5, oldest=first.oldest)))
    assert (items["prev"], items["revision"]) == (0, 5)


def test_an_offset_at_the_edges_is_continued() -> None:
    for since, first in ((5, page(since=5, top=5)), (4, page(item(5), since=4, oldest=4)), (0, page(oldest=3))):
        _, actions = opened(first, since=since, epoch="1-a")
        assert frames(actions)[0]["full"] is False


@pytest.mark.parametrize(
    "first",
    [
        {"op": "ack", "revision": 1},
        {"op": "ping"},
        {"op": "nonsense"},
        {"op": "hello"},
        {"op": "hello", "token": 5},
        {"op": "hello", "token": ""},
        {"op": "hello", "token": "t", "since": -1},
        {"op": "hello", "token": "t", "since": 2**53},
        {"op": "hello", "token": "t", "since": 1.5},
        {"op": "hello", "token": "t", "since": "3"},
        {"op": "hello", "token": "t", "since": True},
        {"op": "hello", "token": "t", "epoch": 1},
        {"op": "hello", "token": "t", "device": {}},
        {"op": "hello", "token": "t", "ticket": "x"},
        {"op": "hello", "token": "t" * 4_097},
    ],
)
def test_anything_but_a_good_hello_closes_at_once(first: dict[str, Any]) -> None:
    session = Session("c1", 0.0)
    assert closed(say(session, first)) == "bad_hello"
    assert say(session, {"op": "hello", "token": "t"}) == []


def test_a_second_hello_closes() -> None:
    session, _ = opened()
    assert closed(say(session, {"op": "hello", "token": "t"})) == "hello_twice"


def test_a_token_that_is_not_believed_closes() -> None:
    for expired, name in ((False, "bad_token"), (True, "token_expired")):
        session = Session("c1", 0.0)
        say(session, {"op": "hello", "token": "t"})
        assert closed(session.refused(expired=expired)) == name


def test_commands_before_the_welcome_have_to_wait() -> None:
    session = Session("c1", 0.0)
    actions = say(
        session, {"op": "hello", "token": "t", "id": 1}, {"op": "ack", "revision": 0, "id": 2}, {"op": "ping"}
    )
    assert frames(actions) == [{"op": "error", "id": 2, "code": "not_ready"}, {"op": "pong"}]
    session.authenticated("ann", 1e12)
    assert frames(session.page(page()))[1] == {"op": "ok", "id": 1}


def test_the_hello_has_a_deadline_and_the_token_an_end() -> None:
    session = Session("c1", 10.0)
    assert session.tick(14.9, 0) == []
    assert closed(session.tick(15.0, 0)) == "hello_timeout"
    session, _ = opened()
    assert session.tick(1e6, 1e12 - 1) == []
    assert closed(session.tick(1e6, 1e12)) == "token_expired"


def test_a_refresh_moves_the_end() -> None:
    session, _ = opened()
    (refresh,) = say(session, {"op": "refresh", "token": "new", "id": "r"})
    assert isinstance(refresh, Refresh)
    (told,) = frames(session.refreshed(refresh.command, 2e12, "tkt"))
    assert told == {"op": "ok", "id": "r", "expires": 2_000_000_000_000, "ticket": "tkt"}
    assert session.tick(0, 1.5e12) == []
    assert frames(session.answered(refresh.command, "bad_token")) == [{"op": "error", "id": "r", "code": "bad_token"}]


def test_a_ticket_is_good_for_a_hello_and_a_new_one_comes_with_the_welcome() -> None:
    session = Session("c1", 0.0)
    hello = {"op": "hello", "ticket": "old", "device": "phone", "meta": {"app": "x"}}
    assert say(session, hello) == [Authenticate("old", "phone", ticket=True, meta='{"app":"x"}')]
    session.authenticated("ann", 1_800_000_000.9, "new")
    welcome = frames(session.page(page()))[0]
    assert (welcome["expires"], welcome["ticket"]) == (1_800_000_000, "new")
    assert session.expires_at == 1_800_000_000.9


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"token": "t", "ticket": "t"}, "bad_token"),
        ({"ticket": 1}, "bad_token"),
        ({"ticket": "t" * 4_097}, "bad_token"),
        ({"token": "t", "device": ""}, "bad_device"),
        ({"token": "t", "device": 1}, "bad_device"),
        ({"token": "t", "epoch": 1}, "bad_epoch"),
        ({"token": "t", "since": -1}, "bad_offset"),
        ({"token": "t", "id": True}, "bad_id"),
        ({"token": "t", "more": 1}, "unknown_field"),
        ({"token": "t", "meta": []}, "bad_meta"),
        ({"token": "t", "meta": {"a": "x" * 1_024}}, "bad_meta"),
    ],
    ids=str,
)
def test_a_hello_that_is_none(hello: dict[str, Any], code: str) -> None:
    actions = say(Session("c1", 0.0), {"op": "hello", **hello})
    assert closed(actions) == "bad_hello"
    assert isinstance(actions[-1], Close)
    assert code in actions[-1].reason


def test_what_was_taken_back_is_told_apart() -> None:
    session = Session("c1", 0.0)
    say(session, {"op": "hello", "token": "t"})
    assert closed(session.refused(revoked=True)) == "revoked"
    assert session.end("disconnected") == [], "closed is closed"


def test_topics_are_asked_for_and_answered() -> None:
    session, _ = opened()
    (wish,) = say(session, {"op": "subscribe", "topics": ["a", "b"], "id": 1})
    assert isinstance(wish, Subscribe)
    assert wish.topics == ("a", "b")
    assert frames(session.answered(wish.command, "forbidden")) == [{"op": "error", "id": 1, "code": "forbidden"}]
    (wish,) = say(session, {"op": "unsubscribe", "topics": ["a"], "id": 2})
    assert isinstance(wish, Unsubscribe)
    assert frames(session.answered(wish.command)) == [{"op": "ok", "id": 2}]


def test_pings_without_end_are_too_fast() -> None:
    session, _ = opened()
    for _ in range(2 * session.limits.burst - 1):  # the hello was one
        assert session.control(0.0) == []
    assert closed(session.control(0.0)) == "too_fast"
    assert session.control(9.0) == []


# ------------------------------------------------------------------------------------------- frames, commands


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x00\x01", "bad_frame"),
        (b'{"op":"ping"}', "bad_frame"),
        ("", "bad_frame"),
        ("{", "bad_frame"),
        ("null", "bad_frame"),
        ('"hello"', "bad_frame"),
        ("[]", "bad_frame"),
        ("[1]", "bad_frame"),
        ('[{"op":"ping"},null]', "bad_frame"),
        ("[" + ",".join(['{"op":"ping"}'] * 33) + "]", "bad_frame"),
        ('{"op":"ping","op":"ping"}', "bad_frame"),
        ('{"op":NaN}', "bad_frame"),
        ('{"op":"a\\u0000b"}', "bad_frame"),
        ('{"op":"\ud800"}', "bad_frame"),
        ("[" * 10_000, "bad_frame"),
        ('{"op":' * 2_000, "bad_frame"),
        ('{"op":"ping","x":' + "[" * 100 + "]" * 100 + "}", "bad_frame"),
        ('{"op":"' + "x" * 16_384 + '"}', "too_big"),
    ],
)
def test_a_frame_that_can_not_be_read_closes(data: str | bytes, name: str) -> None:
    session, _ = opened()
    assert closed(session.receive(data, 0.0)) == name
    assert session.closed


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({}, "unknown_op"),
        ({"op": 1}, "unknown_op"),
        ({"op": []}, "unknown_op"),
        ({"op": "delete"}, "unknown_op"),
        ({"op": "subscribe"}, "bad_topics"),
        ({"op": "subscribe", "topics": []}, "bad_topics"),
        ({"op": "subscribe", "topics": "a"}, "bad_topics"),
        ({"op": "subscribe", "topics": [1]}, "bad_topics"),
        ({"op": "subscribe", "topics": [""]}, "bad_topics"),
        ({"op": "subscribe", "topics": ["a\n"]}, "bad_topics"),
        ({"op": "subscribe", "topics": ["a" * 129]}, "bad_topics"),
        ({"op": "unsubscribe", "topics": ["a"] * 51}, "bad_topics"),
        ({"op": "ping", "extra": 1}, "unknown_field"),
        ({"op": "ping", "id": 1.5}, "bad_id"),
        ({"op": "ping", "id": True}, "bad_id"),
        ({"op": "ping", "id": ""}, "bad_id"),
        ({"op": "ping", "id": "x" * 65}, "bad_id"),
        ({"op": "ping", "id": {}}, "bad_id"),
        ({"op": "ack"}, "bad_offset"),
        ({"op": "ack", "revision": -1}, "bad_offset"),
        ({"op": "ack", "revision": "1"}, "bad_offset"),
        ({"op": "ack", "revision": 2**53}, "bad_offset"),
        ({"op": "ack", "revision": 3}, "not_sent"),
        ({"op": "seen"}, "bad_items"),
        ({"op": "seen", "ids": [], "id": 1}, "bad_items"),
        ({"op": "seen", "ids": [DLV], "up_to": 1}, "bad_items"),
        ({"op": "seen", "ids": DLV}, "bad_items"),
        ({"op": "seen", "ids": [1]}, "bad_items"),
        ({"op": "seen", "ids": ["ntf_" + "0" * 32]}, "bad_items"),
        ({"op": "seen", "ids": ["dlv_xyz"]}, "bad_items"),
        ({"op": "seen", "ids": [DLV] * 101}, "bad_items"),
        ({"op": "read", "up_to": 1.5}, "bad_offset"),
        ({"op": "archive", "up_to": 3}, "not_sent"),
        ({"op": "refresh"}, "bad_token"),
        ({"op": "refresh", "token": 1}, "bad_token"),
    ],
)
def test_a_command_that_can_not_be_carried_out_has_its_code(command: dict[str, Any], code: str) -> None:
    session, _ = opened(page(item(1), item(2)))
    (answer,) = frames(say(session, command))
    expected = {"op": "error", "code": code}
    if isinstance(command.get("id"), int) and code != "bad_id":
        expected["id"] = command["id"]
    assert answer == expected
    assert code in ERRORS
    assert not session.closed


def test_marks_go_out_with_their_command_and_are_answered() -> None:
    session, _ = opened(page(item(1), item(2)))
    for op in Op:
        (mark,) = say(session, {"op": op.value, "ids": [DLV, DLV], "id": 7})
        assert isinstance(mark, Mark)
        assert (mark.op, mark.command.ids) == (op, (UUID(int=1), UUID(int=1)))
        assert frames(session.answered(mark.command)) == [{"op": "ok", "id": 7}]
    (mark,) = say(session, {"op": "read", "up_to": 2})
    assert isinstance(mark, Mark)
    assert mark.command.up_to == 2
    assert session.answered(mark.command) == []
    assert frames(session.answered(mark.command, "unavailable")) == [{"op": "error", "code": "unavailable"}]


@pytest.mark.parametrize("revision", ["0", "7", "007", "-1", "1.0", "1e3", "٣", "999999999999999", "9007199254740992"])
@pytest.mark.parametrize("known", ["", ',"id":"ack"', ',"id":"A"', ',"id":7'])
def test_a_plain_ack_is_what_the_long_way_makes_of_it(revision: str, known: str) -> None:
    text = f'{{"op":"ack","revision":{revision}{known}}}'
    assert plain_ack(text) in (read_command(text), None)


@pytest.mark.parametrize("text", ['{"op":"ack","revision":7}', '{"op":"ack","revision":7,"id":"ack"}'])
def test_acks_as_clients_write_them_are_plain(text: str) -> None:
    assert plain_ack(text) == read_command(text) is not None
    assert plain_ack(text.encode()) is None, "text frames only"


@given(
    st.from_regex(
        r'\{"op":"ack","revision":[0-9. e-]{0,18}(,"(id|revision|x)":("[a-z\\n]{0,70}"|[0-9]))?\}\s?', fullmatch=True
    )
)
def test_nothing_is_a_plain_ack_that_the_long_way_refuses(text: str) -> None:
    assert plain_ack(text) in (read_command(text), None)


def read_command(text: str) -> Command | None:
    try:
        (raw,) = read_frame(text, Limits())
    except Invalid:
        return None
    command = parse(raw, Limits())
    return command if isinstance(command, Ack) else None


def test_an_ack_covers_what_was_sent_here_once_and_says_whether_the_device_was_active() -> None:
    session, _ = opened(page(item(4), item(6), since=3), since=3, epoch="1-a")
    (first,) = say(session, {"op": "ack", "revision": 4})
    assert isinstance(first, Acked)
    assert (first.after, first.upto, first.active) == (3, 4, False)
    say(session, {"op": "active"})
    (second,) = say(session, {"op": "ack", "revision": 6})
    assert isinstance(second, Acked)
    assert (second.after, second.upto, second.active) == (4, 6, True)
    assert say(session, {"op": "ack", "revision": 5}) == []
    assert frames(say(session, {"op": "ack", "revision": 7})) == [{"op": "error", "code": "not_sent"}]
    assert frames(say(session, {"op": "idle", "id": 1})) == [{"op": "ok", "id": 1}]
    assert session.active is False


def test_too_many_commands_are_refused_then_the_client_is_sent_away() -> None:
    session = Session("c1", 0.0, Limits(burst=3, per_second=1.0))
    say(session, {"op": "hello", "token": "t"})
    session.authenticated("ann", 1e12)
    session.page(page())
    answers = [frames(say(session, {"op": "ping"}))[0] for _ in range(4)]
    assert answers == [{"op": "pong"}, {"op": "pong"}, *[{"op": "error", "code": "rate_limited"}] * 2]
    assert frames(say(session, {"op": "ping"}, now=4.0)) == [{"op": "pong"}]
    for _ in range(4):
        say(session, {"op": "ping"}, now=4.0)
    assert closed(say(session, {"op": "ping"}, now=4.0)) == "too_fast"


# --------------------------------------------------------------------------------------------------- telling


def test_pages_follow_each_other_until_the_top() -> None:
    session, actions = opened(page(item(1), item(2), top=5, more=True))
    assert frames(actions)[1]["more"] is True
    assert actions[-1] == Fetch(2)
    actions = session.page(page(item(3), item(5), since=2, unread=4))
    assert [f["op"] for f in frames(actions)] == ["items", "count"]
    assert frames(actions)[0]["more"] is False


def test_a_live_change_comes_without_content_and_a_new_item_with() -> None:
    session, _ = opened(page(item(1), item(2)))
    assert session.hinted(5) == [Fetch(2)]
    assert session.hinted(5) == []
    told = frames(session.page(page(item(1, 3, seen_at=NOW), item(4), item(2, 5, removed=True), since=2)))
    assert [(f["op"], f["prev"], f["revision"], f["more"]) for f in told] == [
        ("changed", 2, 3, True),
        ("items", 3, 4, True),
        ("changed", 4, 5, False),
    ]
    assert told[0]["items"] == [
        {"id": DLV, "revision": 3, "seen_at": "2026-11-22T12:00:00.000Z", "read_at": None, "archived_at": None}
    ]
    assert told[2]["items"] == [{"id": external("dlv", UUID(int=2)), "revision": 5, "removed": True}]


def test_an_item_that_an_unfinished_sync_passed_over_comes_whole() -> None:
    session, _ = opened(page(item(2), top=5, more=True))
    told = frames(session.page(page(item(1, 5, seen_at=NOW), since=2)))
    assert told[0]["op"] == "items", "item 1 was born at 1, but this client has never been told of it"


def test_a_hint_during_a_read_leads_to_one_more() -> None:
    session, _ = opened(page(item(1)))
    assert session.hinted(2) == [Fetch(1)]
    assert session.hinted(3) == []
    actions = session.page(page(item(2), since=1))
    assert actions[-1] == Fetch(2)
    assert session.page(page(since=2)) == [], "a hint that was wrong is not followed for ever"


def test_an_old_hint_is_nothing() -> None:
    session, _ = opened(page(item(1), item(2)))
    assert session.hinted(2) == []


def test_purged_changes_at_the_top_still_move_the_revision() -> None:
    session, _ = opened(page(item(1)))
    session.hinted(3)
    (told,) = frames(session.page(page(since=1, top=3)))
    assert told == {"op": "items", "items": [], "prev": 1, "revision": 3, "more": False}


def test_a_batched_read_that_began_too_low_is_cut() -> None:
    session, _ = opened(page(item(1), item(2), item(3)))
    session.hinted(4)
    (told,) = frames(session.page(page(item(2), item(3), item(4), since=1)))
    assert [i["revision"] for i in told["items"]] == [4]


@pytest.mark.parametrize(
    "later",
    [page(since=3, top=2), page(since=3, top=9, epoch="1-b"), page(since=3, top=9, oldest=4)],
    ids=["went back", "other epoch", "tombstones purged"],
)
def test_a_history_that_changed_under_the_connection_sends_the_client_back(later: Page) -> None:
    session, _ = opened(page(item(3)))
    session.hinted(9)
    assert closed(session.page(later)) == "resync"


def test_a_full_sync_below_the_oldest_tombstone_goes_on() -> None:
    session, _ = opened(page(item(2), top=9, oldest=7, more=True))
    assert frames(session.page(page(item(8), since=2, top=9, oldest=7)))[0]["op"] == "items"


def test_long_pages_are_cut_into_frames_of_bounded_size() -> None:
    big = json.dumps({"body": "x" * 30_000})
    session, actions = opened(page(*(item(n, content=big) for n in range(1, 6))))
    told: list[dict[str, Any]] = []
    while isinstance(actions[-1], Fetch):
        told, fetch = told + frames(actions), actions[-1]
        actions = session.page(page(*(item(n, content=big) for n in range(fetch.since + 1, 6)), since=fetch.since))
    told = [f for f in told + frames(actions) if f["op"] == "items"]
    assert [(f["prev"], f["revision"], f["more"]) for f in told] == [(0, 2, True), (2, 4, True), (4, 5, False)]
    assert session.sent == 5


def test_a_page_that_comes_while_the_client_is_slow_is_read_again_later() -> None:
    session, _ = opened(page(item(1)))
    assert session.hinted(2) == [Fetch(1)]
    session.hold(0.0)
    assert session.page(page(item(2), since=1)) == []
    assert session.release() == [Fetch(1)]
    (items, *_) = frames(session.page(page(item(2), since=1)))
    assert (items["prev"], items["revision"]) == (1, 2)


def test_a_slow_client_is_told_nothing_until_it_reads_and_closed_if_it_never_does() -> None:
    session, _ = opened(page(item(1)))
    session.hold(100.0)
    assert session.hinted(2) == []
    assert session.tick(129.9, 0) == []
    assert session.release() == [Fetch(1)]
    session.page(page(item(2), since=1))
    session.hold(200.0)
    session.hold(210.0)
    assert session.release() == [], "nothing was missed meanwhile"
    session.hold(220.0)
    assert closed(session.tick(250.0, 0)) == "slow_consumer"


def test_a_drain_says_when_to_come_back() -> None:
    session, _ = opened()
    actions = session.drain(1.23456)
    assert frames(actions) == [{"op": "drain", "retry_after": 1.235}]
    assert closed(actions) == "draining"
    assert session.drain(1.0) == []
    assert session.page(page()) == []
    assert session.receive("{}", 0.0) == []


def test_a_recheck_reads_again_unless_a_read_is_under_way() -> None:
    session = Session("c1", 0.0)
    assert session.recheck() == []
    assert not session.open
    session, _ = opened(page(item(3)))
    assert (session.open, session.epoch) == (True, "1-a")
    assert session.recheck() == [Fetch(3)]
    assert session.recheck() == []
    assert closed(session.page(page(since=3, top=1))) == "resync"


def test_our_own_fault_invites_back() -> None:
    session, _ = opened()
    assert closed(session.fail()) == "internal"


# --------------------------------------------------------------------------------------------------- tables


def test_every_close_code_tells_by_its_number_whether_to_come_back() -> None:
    assert all(4000 <= row.code <= 4999 for row in CLOSE_CODES.values())
    assert len({row.code for row in CLOSE_CODES.values()}) == len(CLOSE_CODES)
    assert {row.name for row in CLOSE_CODES.values() if not row.reconnect} == {
        "bad_token",
        "bad_frame",
        "bad_hello",
        "hello_twice",
        "too_big",
        "too_fast",
        "revoked",
        "disconnected",
    }
    assert set(COMMANDS) >= {op.value for op in Op}


def test_every_code_of_the_protocol_is_tried_somewhere() -> None:
    folder = Path(__file__).parents[1]
    tests = [*(folder / "core").glob("test_session*.py"), *(folder / "edge" / "gateway").glob("*.py")]
    text = "".join(path.read_text() for path in tests)
    assert [code for code in {**ERRORS, **CLOSE_CODES} if f'"{code}"' not in text] == []


def test_the_page_of_the_protocol_is_what_the_tables_say() -> None:
    committed = (Path(__file__).parents[2] / "spec" / "socket.md").read_text()
    assert committed == session_page.page(), "run python -m tools.reference"


@given(
    st.one_of(st.text(max_size=80), st.binary(max_size=20), st.from_regex(r"\{\"op\":\"\w+\",\"\w+\":[\w\[\]\"]*\}"))
)
def test_no_frame_breaks_the_session(data: str | bytes) -> None:
    session, _ = opened(page(item(1)))
    session.receive(data, 0.0)


# ------------------------------------------------------------------------------- the model: any interleaving


@dataclass
class Inbox:
    """The truth: what the database would hold."""

    revision: int = 0
    oldest: int = 0
    epoch: int = 1
    born: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    said: list[News] = field(default_factory=list)

    def add(self) -> None:
        self.revision += 1
        self.born += 1
        self.items[self.born] = made = replace(item(self.born), revision=self.revision, born=self.revision)
        unread = sum(1 for i in self.items.values() if not i.removed)
        self.said.append(News(0, "ann", self.revision, full_text(made), unread, 0, str(self.epoch)))

    def change(self, n: int, **changes: Any) -> None:
        live = [k for k, i in self.items.items() if not i.removed]
        if live:
            self.revision += 1
            key = live[n % len(live)]
            self.items[key] = replace(self.items[key], revision=self.revision, **changes)

    def purge(self) -> None:
        gone = [k for k, i in self.items.items() if i.removed]
        self.oldest = max([self.oldest, *(self.items.pop(k).revision for k in gone)])

    def read(self, since: int, limit: int) -> Page:
        news = sorted((i for i in self.items.values() if i.revision > since), key=lambda i: i.revision)
        unread = sum(1 for i in self.items.values() if not i.removed)
        more = len(news) > limit
        return Page(since, self.revision, self.oldest, unread, 0, str(self.epoch), tuple(news[:limit]), more)

    def truth(self) -> dict[str, tuple[int, bool]]:
        return {external("dlv", i.id): (i.revision, bool(i.seen_at)) for i in self.items.values() if not i.removed}


@dataclass
class Client:
    """A client that does what ``spec/socket.md`` says, and checks what it is promised."""

    revision: int = 0
    epoch: str | None = None
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)
    unread: int = -1
    news: list[str] = field(default_factory=list)

    def hello(self) -> dict[str, Any]:
        known = {} if self.epoch is None else {"since": self.revision, "epoch": self.epoch}
        return {"op": "hello", "token": "t", **known}

    def hear(self, frame: dict[str, Any]) -> None:
        if frame["op"] == "welcome":
            if frame["full"]:
                self.revision, self.holds, self.news = 0, {}, []
            self.epoch = frame["epoch"]
        elif frame["op"] in ("items", "changed"):
            assert frame["prev"] == self.revision, "a gap"
            assert frame["revision"] >= self.revision
            for told in frame["items"]:
                self.take(told, known=frame["op"] == "changed")
            self.revision = frame["revision"]
        elif frame["op"] == "count":
            self.unread = frame["unread"]

    def take(self, told: dict[str, Any], *, known: bool) -> None:
        assert told["revision"] > self.holds.get(told["id"], {"revision": 0})["revision"], "told twice"
        if told.get("removed"):
            self.holds.pop(told["id"], None)
            return
        if known:
            assert told["id"] in self.holds, "a change of what it does not hold"
        elif told["id"] not in self.holds:
            assert told["id"] not in self.news, "visible twice"
            self.news.append(told["id"])
        self.holds[told["id"]] = {**self.holds.get(told["id"], {}), **told}


class World:
    """One inbox, one client, and whatever happens between them."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.backup = Inbox()
        self.client = Client()
        self.session: Session | None = None
        self.pending: list[Fetch] = []

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self.client.hear(json.loads(action.text))
            elif isinstance(action, Fetch):
                assert not self.pending, "two reads at a time"
                self.pending.append(action)
            elif isinstance(action, Close):
                assert action.code == CLOSE_CODES["resync"].code
                self.session = None
                self.pending = []

    def connect(self) -> None:
        self.session = Session("c", 0.0)
        self.pending = []
        assert isinstance(say(self.session, self.client.hello())[0], Authenticate)
        self.carry_out(self.session.authenticated("ann", 1e12))

    def serve(self, limit: int, lower: int = 0) -> None:
        """Carry out the read that is waiting; a batch for several devices may have begun lower."""
        if self.session is not None and self.pending:
            fetch = self.pending.pop()
            self.carry_out(self.session.page(self.inbox.read(max(0, fetch.since - lower), limit)))

    def step(self, what: str, n: int) -> None:
        if what == "add":
            self.inbox.add()
        elif what == "seen":
            self.inbox.change(n, seen_at=NOW)
        elif what == "remove":
            self.inbox.change(n, removed=True)
        elif what == "purge":
            self.inbox.purge()
        elif what == "connect":
            self.connect()
        elif what == "break":
            self.session, self.pending = None, []
        elif what == "serve":
            self.serve(1 + n % 3, n % 2)
        elif what == "backup":
            self.backup = replace(self.inbox, items=dict(self.inbox.items))
        elif what == "restore":  # revisions go back, and so the epoch changes
            self.inbox = replace(self.backup, items=dict(self.backup.items), epoch=self.inbox.epoch + 1)
        else:
            self.flow(what, n)

    def flow(self, what: str, n: int) -> None:
        if self.session is None:
            return
        if what == "hint":
            self.carry_out(self.session.hinted(self.inbox.revision + n % 2))
        elif what == "news" and self.inbox.said:  # the newest, or some that come late or once more
            news = self.inbox.said[-1 - n % min(3, len(self.inbox.said))]
            if self.session.live(news):
                self.carry_out([Send(text) for text in live_texts(news)])
            else:
                self.carry_out(self.session.hinted(news.revision))
        elif what == "hold":
            self.session.hold(0.0)
        elif what == "release":
            self.carry_out(self.session.release())

    def settle(self) -> None:
        """Nothing happens any more; a truth check finds what was missed."""
        if self.session is None:
            self.connect()
        for _ in range(500):
            self.flow("release", 0)
            if self.pending:
                self.serve(2)
            elif self.session is None:
                self.connect()
            elif self.client.revision == self.inbox.revision and self.client.epoch == str(self.inbox.epoch):
                return
            elif self.session.hinted(1 << 40) == []:
                raise AssertionError("nothing moves")
            else:
                self.pending.append(Fetch(self.session.sent))
        raise AssertionError("never settles")


CHANGES = ["add", "add", "add", "seen", "seen", "remove", "remove", "purge"]
WAYS = [
    "connect",
    "break",
    "serve",
    "serve",
    "serve",
    "serve",
    "serve",
    "hint",
    "hint",
    "news",
    "news",
    "news",
    "hold",
    "release",
]
DISASTERS = ["backup", "restore"]


def play(steps: Iterable[tuple[str, int]]) -> None:
    world = World()
    for what, n in steps:
        world.step(what, n)
    world.settle()
    held = {key: (value["revision"], bool(value["seen_at"])) for key, value in world.client.holds.items()}
    assert held == world.inbox.truth()
    assert world.client.unread == len(held)
    assert all("title" in value for value in world.client.holds.values())


@given(st.lists(st.tuples(st.sampled_from(CHANGES + WAYS + DISASTERS), st.integers(0, 7)), max_size=60))
def test_after_any_interleaving_the_client_holds_what_the_inbox_holds(steps: list[tuple[str, int]]) -> None:
    play(steps)


def test_after_many_long_interleavings_too() -> None:
    """Long random runs find what short shrinkable ones do not; a failure names its seed."""
    for seed in range(200):
        chance = random.Random(seed)
        kinds = CHANGES + WAYS + (DISASTERS if seed % 3 == 0 else [])
        try:
            play([(chance.choice(kinds), chance.randrange(8)) for _ in range(50)])
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
