"""Does the browser client miss nothing, show nothing twice, and stop when it should, in a real browser?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from playwright.async_api import Browser, BrowserContext

from tests.clients.conftest import Open
from tests.clients.rig import Caller, Node, Site, Tab, Wire
from tests.support import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.pg, pytest.mark.slow]

OPEN = "inbox.status.state === 'open'"
LOST = "log.some(e => e.state === 'waiting')"


async def test_items_come_live_with_their_counts(opened: Open, caller: Caller, user: str) -> None:
    await caller.send(user, "before")
    tab = await opened()
    await tab.holds("before")
    await caller.send(user, "after")
    await tab.holds("before", "after")
    await tab.until("inbox.unread === 2 && inbox.unseen === 2")
    lives = await tab.get("log.filter(e => e.event === 'items').map(e => [e.added[0].title, e.live])")
    assert lives == [["before", False], ["after", True]]


async def test_what_comes_while_the_wire_is_cut_is_there_afterwards(
    opened: Open, caller: Caller, wire: Wire, user: str
) -> None:
    tab = await opened()
    await caller.send(user, "one")
    await tab.holds("one")
    wire.cut()
    await tab.until(LOST)
    await caller.send(user, "two", "three")
    wire.mend()
    await tab.holds("one", "two", "three")
    assert await tab.get("log.flatMap(e => e.changed ?? [])") == []  # what came again, unacked, is no news


async def test_a_browser_that_is_offline_comes_back_by_itself(
    opened: Open, caller: Caller, context: BrowserContext, wire: Wire, user: str
) -> None:
    tab = await opened()
    await tab.until(OPEN)
    await context.set_offline(True)
    wire.cut()
    await caller.send(user, "while away")
    wire.mend()
    assert await tab.get("inbox.items.length") == 0
    await context.set_offline(False)
    await tab.holds("while away")


async def test_a_mark_made_offline_is_said_when_the_wire_is_back(
    opened: Open, caller: Caller, wire: Wire, user: str
) -> None:
    tab = await opened()
    await caller.send(user, "one")
    await tab.holds("one")
    wire.cut()
    await tab.until(LOST)
    await tab.get("void (window.marked = inbox.read(inbox.items[0].id).then(() => 'done'))")
    wire.mend()
    assert await tab.get("window.marked") == "done"
    await tab.until("inbox.unread === 0 && inbox.items[0].read_at")


async def test_all_tabs_share_one_socket(opened: Open, caller: Caller, wire: Wire, user: str) -> None:
    await caller.send(user, "one")
    tabs = [await opened() for _ in range(3)]
    for tab in tabs:
        await tab.holds("one")
    await caller.send(user, "two")
    for tab in tabs:
        await tab.holds("one", "two")
        await tab.until(OPEN)
    assert wire.upgrades == 1


async def test_when_the_leading_tab_closes_another_takes_over_and_misses_nothing(
    opened: Open, caller: Caller, wire: Wire, user: str
) -> None:
    leader, other, third = [await opened() for _ in range(3)]
    await caller.send(user, "one")
    for tab in (leader, other, third):
        await tab.holds("one")
    await leader.page.close()
    await caller.send(user, "two")
    for tab in (other, third):
        await tab.holds("one", "two")
    await eventually(lambda: wire.sockets == 1)
    assert wire.upgrades == 2


async def test_marks_of_one_tab_reach_the_other_and_another_device_within_100_ms(
    opened: Open, caller: Caller, browser: Browser, user: str, record_property: Callable[[str, object], None]
) -> None:
    one, two = await opened(), await opened()
    far = await browser.new_context()
    try:
        three = await opened(far)
        middle: list[float] = []
        for turn in range(1, 11):  # a machine that is busy with something else is slow in some of them
            await caller.send(user, *(f"n{n}" for n in range(10)))
            for tab in (one, two, three):
                await tab.until(f"inbox.items.length === {10 * turn}")
            middle = await _middle(two, one, three)
            for tab in (one, two, three):
                await tab.until(f"inbox.unseen === 0 && inbox.unread === {10 * turn}")
            if max(middle) <= 100:
                break
        record_property("milliseconds", middle)
        assert max(middle) <= 100
    finally:
        await far.close()


async def _middle(marks: Tab, *others: Tab) -> list[float]:
    """Milliseconds until the newest ten items, marked one after the other, are marked in each other tab: the median."""
    late: list[list[float]] = [[] for _ in others]
    for n in range(10):
        said = await marks.get(f"(inbox.seen(inbox.items[{n}].id), Date.now())")
        for times, tab in zip(late, others, strict=True):
            await tab.until(f"inbox.items[{n}].seen_at")
            times.append(await tab.get("log.findLast(e => e.event === 'items').at") - said)
    return [sorted(times)[5] for times in late]


async def test_a_terminal_close_is_not_retried(opened: Open, site: Site, wire: Wire) -> None:
    site.spoilt = True
    tab = await opened()
    await tab.until("inbox.status.state === 'closed'")
    status = await tab.get("inbox.status")
    assert (status["code"], status["reason"]) == (4500, "bad_token")
    assert await tab.get("inbox.seen().catch(e => e.code)") == "bad_token"
    await asyncio.sleep(2)  # the first pauses are at most 0.5 and 1 s
    assert (wire.upgrades, site.tokens) == (1, 1)


async def test_a_tab_that_follows_ends_with_its_leader_and_a_new_one_may_try_again(
    opened: Open, site: Site, caller: Caller, user: str, wire: Wire
) -> None:
    await caller.send(user, "one")
    site.spoilt = True
    first = await opened(ttl=1)
    await first.until("inbox.status.state === 'closed'")
    site.spoilt = False
    second = await opened()
    await second.holds("one")


async def test_pauses_between_tries_are_random_and_grow(opened: Open, wire: Wire) -> None:
    wire.cut()
    tab = await opened(chance=1)
    await tab.until("log.filter(e => e.state === 'waiting').length >= 5")
    waits = [status["wait"] for status in await tab.statuses() if status["state"] == "waiting"]
    assert all(0 <= wait <= 500 * 2**n for n, wait in enumerate(waits))
    assert len(set(waits)) == len(waits)


async def test_a_missing_token_is_asked_for_again(opened: Open, site: Site, caller: Caller, user: str) -> None:
    site.caller = None
    try:
        tab = await opened()
        await tab.until(LOST)
    finally:
        site.caller = caller
    await caller.send(user, "one")
    await tab.holds("one")


SPY = "void (window.pauses = [], window.setTimeout = ((l) => (f, ms) => (pauses.push(ms), l(f, ms)))(setTimeout))"
"""Note how long every timer is set."""


async def test_drain_is_honoured_to_the_millisecond(
    opened: Open, caller: Caller, site: Site, node: Node, wire: Wire, user: str
) -> None:
    leaving = await asyncio.to_thread(Node, node.folder, site.origin)
    wire.target = leaving.port
    tab = await opened()
    await tab.until(OPEN)
    await tab.get(SPY)
    wire.target = node.port  # of later connections
    stopped = asyncio.create_task(asyncio.to_thread(leaving.stop))
    await tab.until(LOST)
    await caller.send(user, "meanwhile")
    await tab.holds("meanwhile")
    await stopped
    statuses = await tab.statuses()
    (drained,) = (n for n, status in enumerate(statuses) if status.get("code") == 4000)
    asked = statuses[drained]
    assert asked["reason"] == "draining"
    assert statuses[drained + 1]["state"] == "connecting"
    assert asked["wait"] in await tab.get("pauses")  # how late a timer comes is the machine's affair
    assert asked["wait"] - 5 <= statuses[drained + 1]["at"] - asked["at"]


async def test_a_reload_shows_at_once_what_was_stored_and_fetches_only_what_is_new(
    opened: Open, caller: Caller, wire: Wire, user: str
) -> None:
    tab = await opened(store=True)
    await caller.send(user, "one")
    await tab.holds("one")
    await tab.page.close()
    await caller.send(user, "two")
    again = await opened(store=True)
    await again.until("inbox.items.length === 2")
    assert await again.get("log.flatMap(e => e.added ?? []).map(i => i.title)") == ["two"]
    await again.get("inbox.close({ forget: true })")
    assert await again.get("localStorage.length") == 0


async def test_two_users_of_one_browser_never_mix(opened: Open, caller: Caller, user: str, wire: Wire) -> None:
    mine, yours = await opened(), await opened(user=f"{user}-2")
    await caller.send(user, "mine")
    await caller.send(f"{user}-2", "yours")
    await mine.holds("mine")
    await yours.holds("yours")
    assert wire.upgrades == 2


async def test_a_page_that_hides_is_idle_and_one_that_shows_is_active(opened: Open, wire: Wire) -> None:
    heard: list[str] = []
    tab = await opened(share=False)
    tab.page.on("websocket", lambda socket: socket.on("framesent", lambda text: heard.append(str(text))))
    await tab.until(OPEN)
    await tab.get("inbox.close()")
    await tab.get(f"begin({{url: '{wire.url}', user: inbox.options.user, share: false}})")
    await tab.until(OPEN)
    await eventually(lambda: any('"active"' in text for text in heard))
    hide = "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
    await tab.get(f"({hide}, document.dispatchEvent(new Event('visibilitychange')))")
    await eventually(lambda: any('"idle"' in text for text in heard))


async def test_silence_is_noticed_by_asking(opened: Open, caller: Caller, wire: Wire, user: str) -> None:
    tab = await opened(clock=True)
    await tab.until(OPEN)
    wire.deafen()
    await caller.send(user, "unheard")
    await tab.page.clock.fast_forward(24_000)
    assert await tab.get(OPEN)
    await tab.page.clock.run_for(3_000)  # it asks
    assert await tab.get(OPEN)
    await tab.page.clock.run_for(9_000)
    statuses = await tab.statuses()
    assert [s["reason"] for s in statuses if s["state"] == "waiting"] == ["no answer"]
    await tab.page.clock.run_for(1_000)
    await tab.holds("unheard")


async def test_a_token_is_renewed_in_band_before_it_ends(opened: Open, site: Site, wire: Wire) -> None:
    tab = await opened(ttl=12)
    await tab.until(OPEN)
    began = asyncio.get_running_loop().time()
    await eventually(lambda: site.tokens == 2, within=20)
    await asyncio.sleep(13 - (asyncio.get_running_loop().time() - began))  # beyond the end of the first
    assert [status["state"] for status in await tab.statuses()] == ["connecting", "open"]
    assert wire.upgrades == 1


async def test_a_ticket_brings_it_back_without_a_token(
    opened: Open, caller: Caller, site: Site, wire: Wire, user: str
) -> None:
    await eventually(lambda: _has_ticket(caller, user), every=0.5)  # a new installation gives none at first
    tab = await opened()
    await tab.until(OPEN)
    async with tab.reopening():
        wire.cut()
        wire.mend()
    assert (site.tokens, wire.sockets) == (1, 1)


async def _has_ticket(caller: Caller, user: str) -> bool:
    return "ticket" in await caller.welcome(user)


async def test_a_revoked_user_is_out_in_every_tab(opened: Open, caller: Caller, wire: Wire, user: str) -> None:
    tabs = [await opened(), await opened()]
    for tab in tabs:
        await tab.until(OPEN)
    await caller.call("POST", f"/v1/users/{user}/revoke", {})
    for tab in tabs:
        await tab.until("inbox.status.state === 'closed'")
        assert await tab.get("inbox.status.code") == 4506


@pytest.mark.parametrize("transport", ["socket", "sse"])
async def test_topics_and_notices(opened: Open, caller: Caller, wire: Wire, user: str, transport: str) -> None:
    wire.blocks_upgrades = transport == "sse"
    topic = f"room-{user}"
    await caller.call("PUT", f"/v1/topics/{topic}/subscribers/{user}")
    one, two = await opened(), await opened()
    for tab in (one, two):
        await tab.until(f"inbox.status.transport === '{transport}'")
    assert await two.get("inbox.subscribe('not-mine').catch(e => e.code)") == "forbidden"
    await two.get(f"inbox.subscribe('{topic}')")
    await caller.call("POST", f"/v1/topics/{topic}/publish", {"data": {"n": 1}})
    await two.until("log.some(e => e.event === 'message' && e.data.n === 1)")
    async with two.reopening():
        wire.cut()
        wire.mend()
    await eventually(lambda: _publish(caller, topic, two, 2))
    assert not await one.get("log.some(e => e.event === 'message')")
    await caller.call("POST", "/v1/sockets/broadcast", {"data": {"text": "to all"}})
    for tab in (one, two):
        await tab.until("log.some(e => e.event === 'notice' && e.data.text === 'to all')")
    await two.get(f"inbox.unsubscribe('{topic}')")
    assert await _publish(caller, topic, two, 3) is False


async def _publish(caller: Caller, topic: str, tab: Tab, n: int) -> bool:
    """Whether a message arrives; fleeting ones may fall into a moment without a connection."""
    await caller.call("POST", f"/v1/topics/{topic}/publish", {"data": {"n": n}})
    with suppress(AssertionError):
        await tab.until(f"log.some(e => e.event === 'message' && e.data.n === {n})", 0.5)
        return True
    return False


async def test_two_tabs_are_offline_for_a_minute_and_miss_nothing(
    opened: Open, caller: Caller, context: BrowserContext, wire: Wire, user: str
) -> None:
    one, two = await opened(), await opened()
    for tab in (one, two):
        await tab.until(OPEN)
    await context.set_offline(True)
    wire.cut()
    titles = [f"n{n:02}" for n in range(50)]
    began = asyncio.get_running_loop().time()
    for title in titles:
        await caller.send(user, title)
        await asyncio.sleep(1.22)
    assert asyncio.get_running_loop().time() - began >= 60
    for tab in (one, two):
        assert await tab.get("inbox.items.length") == 0
    wire.mend()
    await context.set_offline(False)
    for tab in (one, two):
        await tab.holds(*titles)
        revisions = await tab.get("inbox.items.map(i => i.revision)")
        assert all(later - earlier == 1 for later, earlier in pairwise(revisions))
        assert await tab.get("[inbox.unread, inbox.unseen, inbox.revision]") == [50, 50, 50]
