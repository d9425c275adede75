"""Does the browser client do over SSE what it does over a socket, where no socket gets through?"""

from __future__ import annotations

import pytest

from tests.clients.conftest import Open
from tests.clients.rig import Caller, Site, Wire
from tests.support import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.pg, pytest.mark.slow]


async def test_where_no_upgrade_gets_through_it_reads_a_stream_and_later_tries_again(
    opened: Open, caller: Caller, wire: Wire, user: str
) -> None:
    wire.blocks_upgrades = True
    await caller.send(user, "before")
    tab, other = await opened(), await opened()
    await tab.until("inbox.status.transport === 'sse'")
    assert (wire.upgrades, wire.streams) == (2, 1)
    await caller.send(user, "live")
    for each in (tab, other):
        await each.holds("before", "live")
    await tab.get("inbox.seen(inbox.items[0].id)")
    await other.get("inbox.read()")
    for each in (tab, other):
        await each.until("inbox.unread === 0 && inbox.items.every(i => i.read_at)")
    await eventually(lambda: _delivered(caller, user))
    wire.deafen()
    await caller.send(user, "cut")
    wire.blocks_upgrades = False
    wire.cut()
    wire.mend()  # before anything is tried, so that the first try succeeds
    for each in (tab, other):
        await each.holds("before", "live", "cut")
        await each.until("inbox.status.transport === 'socket'")
    assert wire.streams == 1


async def test_where_no_upgrade_gets_through_a_stream_that_breaks_is_back_after_one_pause(
    opened: Open, wire: Wire
) -> None:
    wire.blocks_upgrades = True
    tab = await opened()
    await tab.until("inbox.status.transport === 'sse'")
    before, upgrades = len(await tab.statuses()), wire.upgrades
    async with tab.reopening():
        wire.cut()
        wire.mend()
    since = (await tab.statuses())[before:]
    assert [status["state"] for status in since] == ["waiting", "connecting", "connecting", "open"]
    assert (since[-1]["transport"], wire.upgrades) == ("sse", upgrades + 1)


async def test_to_listen_to_more_is_no_failure_that_makes_the_next_pause_longer(
    opened: Open, caller: Caller, wire: Wire, user: str
) -> None:
    wire.blocks_upgrades = True
    topics = [f"{user}-{n}" for n in range(5)]
    for topic in topics:
        await caller.call("PUT", f"/v1/topics/{topic}/subscribers/{user}")
    tab = await opened(chance=1)
    await tab.until("inbox.status.transport === 'sse'")
    for topic in topics:
        await tab.get(f"inbox.subscribe('{topic}')")
    waits = [status["wait"] for status in await tab.statuses() if status.get("code") == 1000]
    assert len(waits) == 5
    assert max(waits) <= 500


async def test_a_stream_carries_large_items_whole_and_shows_the_newest_first(
    opened: Open, caller: Caller, wire: Wire, user: str
) -> None:
    wire.blocks_upgrades = True
    titles = [f"{n} ığüşöç 漢字 🦊" for n in range(40)]
    body = "Zażółć gęślą jaźń 漢字 🦊 " * 170

    async def send(some: list[str]) -> None:
        for title in some:
            data = {"title": title, "body": f"{title} {body}"}
            await caller.call("POST", "/v1/notifications", {"type": "note", "to": [{"user": user}], "data": data})

    await send(titles[:20])
    tab = await opened()
    await tab.until("inbox.status.transport === 'sse'")
    await send(titles[20:])  # at once, so that some are read in pages and some come live
    await tab.holds(*titles)
    shown = await tab.get("inbox.items.map(i => [i.title, i.body, i.created_at + i.notification + i.id])")
    # Two that are accepted one after the other may be planned side by side: the newest item comes first.
    assert sorted(title for title, _, _ in shown) == sorted(titles)
    assert all(text == f"{title} {body}".strip() for title, text, _ in shown)
    assert [place for _, _, place in shown] == sorted((place for _, _, place in shown), reverse=True)
    assert await tab.get("new Set(inbox.items.map(i => i.id)).size") == 40
    assert wire.streams == 1  # no piece was misread, or it would have come again


async def test_what_a_stream_carries_is_never_taken_for_its_form(
    opened: Open, caller: Caller, wire: Wire, user: str
) -> None:
    wire.blocks_upgrades = True
    topic = f"room-{user}"
    await caller.call("PUT", f"/v1/topics/{topic}/subscribers/{user}")
    tab = await opened()
    await tab.until("inbox.status.transport === 'sse'")
    await tab.get(f"inbox.subscribe('{topic}')")
    text = "a\u2028event: close\u2029data: {}\u2028\n\nb"
    await caller.call("POST", f"/v1/topics/{topic}/publish", {"data": {"text": text}})
    await tab.until("log.some(e => e.event === 'message')")
    assert await tab.get("log.find(e => e.event === 'message').data.text") == text


async def test_after_five_minutes_of_a_stream_a_socket_is_tried(opened: Open, wire: Wire) -> None:
    wire.blocks_upgrades = True
    tab = await opened(clock=True)
    await tab.page.clock.run_for(3_000)
    await tab.until("inbox.status.transport === 'sse'")
    wire.blocks_upgrades = False
    await tab.page.clock.fast_forward(301_000)
    await tab.page.clock.run_for(2_000)
    await tab.until("inbox.status.transport === 'socket'")


async def test_a_stream_whose_token_ends_goes_on_with_a_new_one(
    opened: Open, caller: Caller, site: Site, wire: Wire, user: str
) -> None:
    wire.blocks_upgrades = True
    tab = await opened(ttl=4)
    await tab.until("inbox.status.transport === 'sse'")
    await tab.until("log.some(e => e.code === 4006)")
    await caller.send(user, "later")
    await tab.holds("later")


async def _delivered(caller: Caller, user: str) -> bool:
    page = await caller.call("GET", f"/v1/deliveries?user={user}")
    return all(item["state"] == "delivered" for item in page["items"])
