"""Does every email that may be refused say where, does no other, and do its links open what they were made for?"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from tests.flow.harness import body, open_node, plan_all, prepare, put_users, send
from ulak.core.content.email import EmailContent
from ulak.core.link import Click, LinkError, Open, Preferences, Unsubscribe
from ulak.core.model import Account, Channel
from ulak.flow.attempt.messages import Maker, NoFiles
from ulak.io.links import Linker, check
from ulak.io.postgres.attempting import Line, begin, claim
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.secrets import Purpose, Secrets
from ulak.providers.contract import Message
from ulak.providers.email import smtp

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

_TYPE = """
[types.{0}]
category = "{1}"
class = "{2}"
template = "order"
route = [{{ channel = "email" }}]
"""
_NOBODY = UUID(int=9)
PROJECT = {
    "ulak.toml": '[email]\nfrom = "Octo <octo@example.com>"\n[accounts.mail]\nchannel = "email"\nprovider = "noop"\n'
    + "".join(
        _TYPE.format(*kind)
        for kind in (
            ("order", "orders", "transactional"),
            ("offer", "offers", "marketing"),
            ("login", "security", "critical"),
            ("hint", "security", "transactional"),
        )
    )
    + _TYPE.format("seen", "orders", "transactional").replace("template", 'track = ["opens", "clicks"]\ntemplate')
    + _TYPE.format("click", "orders", "transactional").replace("template", 'track = ["clicks"]\ntemplate'),
    "templates/order/email.md": '+++\nsubject = "x"\n+++\nHello\n\n'
    "[Shop](https://shop.example/{{ data.number }}?a=1&b=2)\n\n"
    "{% if unsubscribe_url %}[No more]({{ unsubscribe_url }}) [Choices]({{ preferences_url }}){% endif %}\n",
}
MAIL = Account("mail", "smtp", Channel.EMAIL, settings={"host": "127.0.0.1"})


async def made(pool: Pool, linker: Linker | None, *kinds: str, user: Any = "ada") -> list[Message]:
    """What each type's notification becomes, in order."""
    await prepare(pool, PROJECT)
    await put_users(pool, "ada")
    node = await open_node(pool)
    node.acceptor.start()
    found: list[Message] = []
    for kind in kinds:
        await send(node, body(kind, user))
        await plan_all(node)
        rows: Sequence[Any] = []
        for lane in range(3):
            async with pool.transaction(SENDING) as connection:
                ready = await claim(connection, Line(lane, "email/mail"), 10, node.boot, 30.0, 0.0)
                rows = [*rows, *((await begin(connection, ready, "mail", 30.0))[0] if ready else [])]
        maker = Maker(pool, node.catalogs, time.monotonic, NoFiles(), linker)
        messages = await maker.make(rows, MAIL, smtp)
        assert not messages.failed
        found += messages.messages.values()
    await node.acceptor.stop()
    return found


def linker(pool: Pool, base: str = "https://n.example.com") -> Linker:
    return Linker(Secrets(pool), check(base), os.urandom, time.monotonic)


async def test_what_may_be_refused_says_where_and_critical_mail_does_not(store: Pool) -> None:
    one = linker(store)
    order, offer, login, hint = await made(store, one, "order", "offer", "login", "hint")
    for message, category in ((order, "orders"), (offer, "offers")):
        assert message.links is not None
        address = urlsplit(message.links.unsubscribe)
        assert (address.scheme, address.netloc, address.path[:3]) == ("https", "n.example.com", "/u/")
        link = await one.open(address.path[3:])
        assert isinstance(link, Unsubscribe)
        assert (link.tenant, link.user, link.channel, link.category) == (0, "ada", "email", category)
        assert f"dlv_{link.delivery.hex if link.delivery else ''}" == message.delivery
        assert isinstance(message.content, EmailContent)
        assert f'href="{message.links.unsubscribe}"' in (message.content.html or "")
        assert message.links.unsubscribe in message.content.text
        choices = message.content.text.rpartition("(")[2].partition(")")[0]
        assert isinstance(await one.open(urlsplit(choices).path[3:]), Preferences)
        request = smtp.build([message], MAIL, message.expires_at)
        head = request.message.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b"").replace(b" ", b"")
        assert f"List-Unsubscribe:<{message.links.unsubscribe}>".encode() in head
        assert b"List-Unsubscribe-Post:List-Unsubscribe=One-Click" in head
    for message in (login, hint):
        assert message.links is None
        assert isinstance(message.content, EmailContent)
        assert "/u/" not in message.content.text


async def test_only_types_that_ask_for_it_are_tracked(store: Pool) -> None:
    one = linker(store)
    order, seen, click = await made(store, one, "order", "seen", "click")
    pages = {}
    for name, message in (("order", order), ("seen", seen), ("click", click)):
        assert isinstance(message.content, EmailContent)
        assert "https://shop.example/7?a=1&b=2" in message.content.text
        assert "/t/" not in message.content.text
        pages[name] = message.content.html or ""
        assert pages[name].count("/u/") == 2
    assert "/t/" not in pages["order"]
    assert "<img" not in pages["click"]
    assert "shop.example" not in pages["seen"]
    tokens = re.findall(r"/t/([\w-]+)", pages["seen"])
    delivery = UUID(hex=seen.delivery.removeprefix("dlv_"))
    opened = [await one.open(token) for token in tokens]
    assert opened == [Click(0, delivery, "https://shop.example/7?a=1&b=2"), Open(0, delivery)]


@pytest.mark.parametrize("base", ["", "http://127.0.0.1:8080"])
async def test_without_an_https_address_no_header_is_written(store: Pool, base: str) -> None:
    (order,) = await made(store, linker(store, base), "order")
    assert order.links is None
    assert isinstance(order.content, EmailContent)
    assert ("/u/" in order.content.text) is bool(base)  # on a developer's machine the links in the text still work


async def test_an_id_of_any_length_makes_no_header_that_breaks_a_mail(store: Pool) -> None:
    name = "\U0001f426" * 128
    user = {"user": {"id": name, "email": "bird@example.com"}}
    (order,) = await made(store, linker(store, "https://" + "a" * 180 + ".example"), "order", user=user)
    assert order.links is None
    smtp.build([order], MAIL, order.expires_at)


async def test_links_outlive_every_rotation_and_open_on_other_nodes(store: Pool) -> None:
    now = 0.0
    first = Linker(Secrets(store), "https://a.example", os.urandom, lambda: now)
    second = Linker(Secrets(store), "https://a.example", os.urandom, lambda: now)
    await first.ready()
    await second.ready()
    choices = first.choices(0, "ada", "email", "orders", _NOBODY)
    assert choices is not None
    await Secrets(store).rotate(Purpose.LINK, b"n" * 32, 0.0)
    third = Linker(Secrets(store), "https://a.example", os.urandom, lambda: now)
    await third.ready()
    newer = third.choices(0, "ada", "email", "orders", _NOBODY)
    assert newer is not None
    assert newer.unsubscribe != choices.unsubscribe
    now = 2.0
    for one in (first, second, third):
        for link in (choices, newer):
            assert await one.open(link.unsubscribe.rpartition("/")[2]) == Unsubscribe(
                0, "ada", "email", "orders", _NOBODY
            )
    with pytest.raises(LinkError):
        await first.open("AQAAAAk" + "a" * 40)


@pytest.mark.parametrize(
    "text",
    ["ftp://a.example", "n.example.com", "https://", "https://a.example?x=1", "https://u:p@a.example", "https://a b"],
)
def test_an_address_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"https://notify\.example\.com"):
        check(text)


def test_an_address_is_kept_without_a_slash_at_its_end() -> None:
    assert check("https://a.example/mail/ ") == "https://a.example/mail"
