"""Does every change of a choice leave its line, does nothing else, and do links take back only what links did?"""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from ulak.core.choice import LINK, Change, Stand, stand
from ulak.io.postgres.consents import NEWEST, By, Choice, Consents, agent
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.users import Profile, Users

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

API, ME, MAIL = By("api", "ulk_live_ab", "curl/8"), By("me", "tok_1"), By(LINK, "dlv_1", "Mozilla")
ORDERS = ("orders", "email")
NO, YES = Choice(*ORDERS, allowed=False), Choice(*ORDERS, allowed=True)
Line = tuple[str, str, bool | None, str]


async def record(pool: Pool, user: str = "ada") -> list[Line]:
    """The lines of a user's record, oldest first."""
    rows = await Consents(pool).page(0, user, NEWEST, 100)
    return [(r["category"], r["channel"], r["allowed"], r["source"]) for r in reversed(rows)]


async def test_each_change_has_its_line_and_a_repetition_has_none(store: Pool) -> None:
    users = Users(store)
    for choice in (NO, NO, YES, YES):
        await users.choose(0, "ada", [choice], API, replace=False)
    await users.choose(0, "ada", [Choice("news", "*", allowed=False)], ME, replace=True)
    await users.choose(0, "eve", [NO], API, replace=False)
    assert await record(store) == [
        (*ORDERS, False, "api"),
        (*ORDERS, True, "api"),
        (*ORDERS, None, "me"),
        ("news", "*", False, "me"),
    ]
    newest = (await Consents(store).page(0, "ada", NEWEST, 1))[0]
    assert (newest["evidence"], newest["agent"]) == ("tok_1", None)
    assert [r["category"] for r in await Consents(store).page(0, "ada", newest["id"], 1)] == ["orders"]
    assert await Consents(store).page(1, "ada", NEWEST, 10) == []


async def test_a_no_by_link_can_be_taken_back_and_nothing_is_left_of_it(store: Pool) -> None:
    consents = Consents(store)
    for change in [Change(refuse=[ORDERS])] * 2 + [Change(restore=[ORDERS])] * 2:
        await consents.change(0, "ada", change, MAIL)
    assert await consents.chosen(0, "ada") == []
    assert await record(store) == [(*ORDERS, False, "link"), (*ORDERS, None, "link")]


async def test_a_link_puts_back_what_was_said_before(store: Pool) -> None:
    consents = Consents(store)
    await Users(store).choose(0, "ada", [Choice("*", "email", allowed=False), YES], ME, replace=False)
    await consents.change(0, "ada", Change(refuse=[ORDERS]), MAIL)
    assert stand(await consents.chosen(0, "ada"), *ORDERS) is Stand.OFF_BY_LINK
    await consents.change(0, "ada", Change(restore=[ORDERS]), MAIL)
    assert stand(await consents.chosen(0, "ada"), *ORDERS) is Stand.ON
    assert (await record(store))[-2:] == [(*ORDERS, False, "link"), (*ORDERS, True, "link")]


@pytest.mark.parametrize("by", [ME, API])
@pytest.mark.parametrize("first", ["link", "login"])
async def test_what_was_refused_elsewhere_no_link_takes_back(store: Pool, by: By, first: str) -> None:
    consents, users = Consents(store), Users(store)
    if first == "link":
        await consents.change(0, "ada", Change(refuse=[ORDERS]), MAIL)
    await users.choose(0, "ada", [NO], by, replace=False)
    await consents.change(0, "ada", Change(refuse=[ORDERS]), MAIL)
    await consents.change(0, "ada", Change(restore=[ORDERS]), MAIL)
    assert stand(await consents.chosen(0, "ada"), *ORDERS) is Stand.OFF
    assert (await record(store))[-1] == (*ORDERS, False, by.source)


async def test_many_at_once_make_one_line(store: Pool) -> None:
    consents = Consents(store)
    await asyncio.gather(*(consents.change(0, "ada", Change(refuse=[ORDERS]), MAIL) for _ in range(12)))
    assert await record(store) == [(*ORDERS, False, "link")]
    await asyncio.gather(*(consents.change(0, "ada", Change(restore=[ORDERS]), MAIL) for _ in range(12)))
    assert await record(store) == [(*ORDERS, False, "link"), (*ORDERS, None, "link")]


async def test_an_erased_user_leaves_no_record(store: Pool) -> None:
    users = Users(store)
    await users.put(0, "ada", Profile(email="ada@example.com"))
    await users.choose(0, "ada", [NO], API, replace=False)
    await users.erase(0, "ada")
    assert await record(store) == []


async def test_the_language_is_the_users_or_that_of_the_message(store: Pool) -> None:
    consents = Consents(store)
    assert await consents.locale(0, "ada", UUID(int=1)) is None
    await Users(store).put(0, "ada", Profile(locale="tr-TR"))
    assert await consents.locale(0, "ada", None) == "tr-TR"


def test_what_a_program_calls_itself_is_cut_and_harmless() -> None:
    assert agent(None) is None
    assert agent(b" \x00\x1b ") is None
    assert agent(b"Mail/1.0\r\n (x)") == "Mail/1.0 (x)"
    assert agent(b"a" * 10_000) == "a" * 200
