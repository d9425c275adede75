"""Does a link change what it covers and nothing else, only by POST, and is its answer final?"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.edge.api.harness import NOW, Answer, call
from ulak.core.ids import external
from ulak.core.link import Click, Open
from ulak.core.loaded import Loaded
from ulak.core.project import load
from ulak.edge.links import LinkDeps, LinkDoor, door, form
from ulak.edge.links.words import WORDS, accepted, language
from ulak.io.links import Linker
from ulak.io.postgres.consents import NEWEST, By, Choice, Consents
from ulak.io.postgres.gate import FORBIDDING, SENDING
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.secrets import Secrets
from ulak.io.postgres.tracking import Tracking
from ulak.io.postgres.users import Profile, Users

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

_EMAIL = '+++\nsubject = "x"\n+++\nx'
CATALOG = load(
    {
        "ulak.toml": """
[email]
from = "o@example.com"
[types.order]
category = "orders"
class = "transactional"
route = [{ channel = "in_app" }, { channel = "email", after = "1m" }]
[types.offer]
category = "summer-offers"
class = "marketing"
route = [{ channel = "email" }]
[types.login]
category = "security"
class = "critical"
route = [{ channel = "email" }]
""",
        "templates/order/in_app.txt": '+++\ntitle = "x"\n+++\nx',
        **{f"templates/{name}/email.md": _EMAIL for name in ("order", "offer", "login")},
    }
)
DELIVERY = UUID(int=7)
FORM = {"content-type": "application/x-www-form-urlencoded"}
ONE_CLICK = b"List-Unsubscribe=One-Click"
USER = "ada@example.com"


@dataclass
class World:
    """A door over a database, and the links of one message."""

    pool: Pool
    app: LinkDoor
    linker: Linker
    unsubscribe: str
    preferences: str
    now: list[float] = field(default_factory=lambda: [0.0])

    async def get(self, path: str, **headers: str) -> Answer:
        return await call(self.app, "GET", path, token=None, headers=headers)

    async def post(self, path: str, body: bytes, **headers: str) -> Answer:
        return await call(self.app, "POST", path, body, token=None, headers={**FORM, **headers})

    async def choices(self) -> list[tuple[str, str, bool]]:
        return [(c.category, c.channel, c.allowed) for c in await Consents(self.pool).chosen(0, USER)]

    async def everything(self) -> list[Any]:
        """All that a request could change."""
        tables = ("preferences", "consents", "suppressions", "users", "receipts")
        return [await self.pool.fetchval(f"SELECT array_agg(t::text ORDER BY t::text) FROM {t} t") for t in tables]


@pytest.fixture
async def world(store: Pool) -> World:
    now = [0.0]
    linker = Linker(Secrets(store), "https://n.example.com", os.urandom, time.monotonic)
    await linker.ready()
    made = linker.choices(0, USER, "email", "orders", DELIVERY)
    assert made is not None
    deps = LinkDeps(linker, Consents(store), Tracking(store), lambda _: Loaded.of(CATALOG), lambda: NOW, lambda: now[0])
    paths = [url.removeprefix("https://n.example.com") for url in (made.unsubscribe, made.preferences)]
    return World(store, LinkDoor(deps), linker, paths[0], paths[1], now)


async def test_one_click_says_no_and_a_repetition_is_the_same(world: World) -> None:
    for _ in range(3):
        answer = await world.post(world.unsubscribe, ONE_CLICK, **{"user-agent": "Gmail"})
        assert answer.status == 200
        assert "location" not in answer.headers
        assert "set-cookie" not in answer.headers
    assert await world.choices() == [("orders", "email", False)]
    (line,) = await Consents(world.pool).page(0, USER, NEWEST, 10)
    found = (line["source"], line["evidence"], line["agent"], line["allowed"])
    assert found == ("link", external("dlv", DELIVERY), "Gmail", False)


async def test_one_click_as_a_form_of_parts(world: World) -> None:
    body = b'--x1\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x1--\r\n'
    answer = await world.post(world.unsubscribe, body, **{"content-type": "multipart/form-data; boundary=x1"})
    assert answer.status == 200
    assert await world.choices() == [("orders", "email", False)]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND"])
async def test_whatever_is_no_post_changes_nothing(world: World, method: str) -> None:
    before = await world.everything()
    for path in (world.unsubscribe, world.preferences):
        answer = await call(world.app, method, path, ONE_CLICK, token=None, headers=FORM)
        assert answer.status == (200 if method in ("GET", "HEAD", "OPTIONS") else 405)
        assert (len(answer.body) > 0) is (method == "GET")
    assert await world.everything() == before


BAD = {
    "nothing": (b"", FORM, 400),
    "another word": (b"List-Unsubscribe=Yes", FORM, 400),
    "json": (b'{"List-Unsubscribe": "One-Click"}', {"content-type": "application/json"}, 400),
    "no type": (ONE_CLICK, {"content-type": ""}, 400),
    "no pairs": (b"x", FORM, 400),
    "not utf-8": (b"\xff=\xff", FORM, 400),
    "too many": (b"a=1&" * 5_000, FORM, 400),
    "too large": (b"a" * (door.MAX_BODY + 1), FORM, 413),
    "parts without a fence": (ONE_CLICK, {"content-type": "multipart/form-data"}, 400),
    "parts without an end": (b"--x\r\n\r\n", {"content-type": "multipart/form-data; boundary=x"}, 400),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_no_answer_changes_nothing(world: World, case: str) -> None:
    body, headers, status = BAD[case]
    before = await world.everything()
    for path in (world.unsubscribe, world.preferences):
        answer = await call(world.app, "POST", path, body, token=None, headers=headers)
        assert answer.status == status
        assert b"<h1>" in answer.body
    assert await world.everything() == before


async def test_one_click_at_the_link_of_all_choices_changes_nothing(world: World) -> None:
    before = await world.everything()
    assert (await world.post(world.preferences, ONE_CLICK)).status == 400
    assert await world.everything() == before


async def test_a_changed_link_is_none(world: World) -> None:
    before = await world.everything()
    token = world.unsubscribe.removeprefix("/u/")
    flipped = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(0, len(token), 5)]
    click = world.linker.click(0, DELIVERY, "https://example.com") or ""
    shown = world.linker.shown(0, DELIVERY) or ""
    for wrong in (*flipped, "", "x", "a" * 5_000, "%00", click.rpartition("/")[2], shown.rpartition("/")[2]):
        answer = await world.post(f"/u/{wrong}", ONE_CLICK)
        assert answer.status == 404
        assert len(wrong) < 20 or wrong not in answer.body.decode()
    assert await world.everything() == before
    assert isinstance(await world.linker.open(click.rpartition("/")[2]), Click)
    assert isinstance(await world.linker.open(shown.rpartition("/")[2]), Open)


async def test_the_page_switches_off_and_on_again(world: World) -> None:
    asked = (await world.get(world.unsubscribe)).body.decode()
    assert 'value="off"' in asked
    stopped = (await world.post(world.unsubscribe, b"do=off")).body.decode()
    assert 'value="on"' in stopped
    assert 'value="on"' in (await world.get(world.unsubscribe)).body.decode()
    resumed = await world.post(world.unsubscribe, b"do=on")
    assert 'value="off"' in resumed.body.decode()
    assert await world.choices() == []
    lines = await Consents(world.pool).page(0, USER, NEWEST, 10)
    assert [line["allowed"] for line in lines] == [None, False]


async def test_what_was_refused_where_somebody_was_logged_in_no_link_takes_back(world: World) -> None:
    no = Choice("orders", "email", allowed=False)
    await Users(world.pool).choose(0, USER, [no], By("me"), replace=False)
    for path, body in (
        (world.unsubscribe, b"do=on"),
        (world.unsubscribe, ONE_CLICK),
        (world.unsubscribe, b"do=on"),
        (world.preferences, b"do=save&shown=orders/email&on=orders/email"),
    ):
        assert (await world.post(path, body)).status == 200
    assert await world.choices() == [("orders", "email", False)]
    assert 'value="on"' not in (await world.get(world.unsubscribe)).body.decode()
    assert "disabled" in (await world.get(world.preferences)).body.decode()


async def test_a_no_stays_when_a_wider_one_is_taken_back(world: World) -> None:
    users = Users(world.pool)
    await users.choose(0, USER, [Choice("*", "email", allowed=False)], By("me"), replace=False)
    await world.post(world.unsubscribe, ONE_CLICK)
    await users.choose(0, USER, [Choice("*", "email", allowed=True)], By("me"), replace=False)
    assert ("orders", "email", False) in await world.choices()


async def test_the_page_of_all_choices_shows_and_saves_them(world: World) -> None:
    shown = Boxes((await world.get(world.preferences)).body.decode())
    assert shown.boxes == {"orders/in_app": True, "orders/email": True, "summer-offers/email": True}
    body = b"do=save&shown=orders/in_app&shown=orders/email&shown=summer-offers/email&on=orders/in_app"
    saved = Boxes((await world.post(world.preferences, body)).body.decode())
    assert saved.boxes == {"orders/in_app": True, "orders/email": False, "summer-offers/email": False}
    assert await world.choices() == [("orders", "email", False), ("summer-offers", "email", False)]
    body = b"do=save&shown=orders/email&on=orders/email&on=security/email&on=summer-offers/email"
    await world.post(world.preferences, body)
    # Offers were not shown on that page and stay as they are; security is not to be had by a link at all.
    assert await world.choices() == [("summer-offers", "email", False)]
    await world.post(world.preferences, b"do=save&shown=security/email&shown=orders/email&on=orders/email")
    assert await world.choices() == [("summer-offers", "email", False)]


class Boxes(HTMLParser):
    """What a page shows: boxes, form, and everything that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.boxes: dict[str, bool] = {}
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if given.get("type") == "checkbox" and "disabled" not in given:
            self.boxes[given["value"] or ""] = "checked" in given
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "action", "style", "onclick")]


@pytest.mark.parametrize(("locale", "speaks"), [("de-AT", "de"), ("tr_TR", "tr"), ("en", "en"), ("fr", "en")])
async def test_the_page_speaks_the_users_language_and_loads_nothing(world: World, locale: str, speaks: str) -> None:
    await Users(world.pool).put(0, USER, Profile(email=USER, locale=locale.replace("_", "-")))
    for path in (world.unsubscribe, world.preferences):
        answer = await world.get(path, **{"accept-language": "ja"})
        text = answer.body.decode()
        found = Boxes(text)
        assert f'<html lang="{speaks}" dir="ltr">' in text
        assert WORDS[speaks]["title" if path == world.preferences else "stop"] in text
        assert found.loads == []
        assert found.tags.isdisjoint({"script", "img", "link", "iframe"})
        for secret in (USER, "example.com", DELIVERY.hex):
            assert secret not in text
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers


async def test_without_a_known_language_the_browsers_counts(world: World) -> None:
    answer = await world.get(world.unsubscribe, **{"accept-language": "fr;q=0.9, de-CH;q=0.8"})
    assert '<html lang="de"' in answer.body.decode()


async def test_a_link_is_used_so_often_and_no_more(world: World) -> None:
    statuses = [(await world.get(world.unsubscribe)).status for _ in range(door.BURST + 3)]
    assert statuses == [200] * door.BURST + [429] * 3
    assert (await world.post(world.unsubscribe, ONE_CLICK)).status == 200
    assert (await world.get(world.preferences)).status == 200
    world.now[0] += door.PAUSE
    assert (await world.get(world.unsubscribe)).status == 200


async def test_who_comes_upon_a_crowd_at_the_gate_is_taken_there_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ulak.io.postgres.consents.FORBIDDING", FORBIDDING.replace("5s", "100ms"))
    change, tries = Consents.change, 0
    async with world.pool.transaction(SENDING) as crowd:

        async def counted(*what: Any) -> None:
            nonlocal tries
            tries += 1
            if tries == 5:
                await crowd.execute("COMMIT; BEGIN")  # it goes on
            await change(*what)

        monkeypatch.setattr(Consents, "change", counted)
        assert (await world.post(world.unsubscribe, ONE_CLICK)).status == 503
        assert await world.choices() == []
        assert (await world.post(world.unsubscribe, ONE_CLICK)).status == 200
    assert (await world.choices(), tries) == ([("orders", "email", False)], 5)


async def test_what_can_not_be_kept_is_not_confirmed(world: World) -> None:
    world.pool.terminate()
    answer = await world.post(world.unsubscribe, ONE_CLICK)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "10"


def test_every_language_has_every_word_and_the_same_gaps() -> None:
    for words in WORDS.values():
        assert words.keys() == WORDS["en"].keys()
        for key, text in words.items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", WORDS["en"][key]))
    assert language(None, "x", "pt-BR", "tr-TR", "de") == "tr"
    assert accepted(None) == [""]


@given(
    st.binary(max_size=200), st.sampled_from([b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded"])
)
def test_no_body_breaks_the_reader(body: bytes, kind: bytes) -> None:
    fields = form.read(kind, body)
    assert fields is None or len(fields) <= len(body)
