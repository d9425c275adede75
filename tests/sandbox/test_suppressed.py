"""Do the fake vendors hold back whom they should, and let go of those that a node asks for, by its own client?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network

import msgspec
import pytest

from tests.sandbox.test_vendors import VENDORS, account, message, post, sandbox, send, vendor
from ulak.core.model import Account, Channel, Class
from ulak.flow.reactivate import Reactivated, Reactivator, Result, Surroundings
from ulak.io.outbound.vendor import VendorSender
from ulak.providers.registry import REACTIVATES
from ulak.sandbox.server import Sandbox

pytestmark = pytest.mark.anyio
__all__ = ["sandbox"]

HERE = [ip_network("127.0.0.1/32")]
ODD = "o'hara+a/b?c=1&d#e%2f"
WRONG = {"ses": {"secret_key": "x"}, "sendgrid": {"api_key": "x"}, "postmark": {"server_token": "x"}}


@pytest.fixture
async def sender() -> AsyncIterator[VendorSender]:
    """What a node sends by, allowed to reach this machine."""
    one = VendorSender(Account("mail", "ses", Channel.EMAIL), HERE)
    yield one
    await one.close()


async def ask(accounts: Sequence[Account], address: str, seconds: float = 5) -> Sequence[Reactivated]:
    """What a node does, with these accounts; ``noop`` has no list, ``broken`` no secret here."""
    around = Surroundings(
        lambda tenant, channel: accounts,
        lambda declared: None if declared.name == "broken" else declared,
        lambda resolved: VendorSender(resolved, HERE),
        lambda: datetime.now(UTC),
    )
    return await Reactivator(REACTIVATES, around, seconds).reactivate(0, Channel.EMAIL, address)


def places(sandbox: Sandbox, vendor: str) -> list[str]:
    return [held.place for held in sandbox.vendors.suppressed.held if held.vendor == vendor]


@vendor
async def test_an_address_is_let_go_once(vendor: str, sandbox: Sandbox, sender: VendorSender) -> None:
    one = account(sandbox, vendor)
    await send(sender, one, message("hard-bounce+1"))
    await send(sender, one, message("hard-bounce+2"))
    assert len(places(sandbox, vendor)) == 2
    assert await ask([one], "hard-bounce+1@example.com") == [Reactivated("mail", Result.REMOVED)]
    assert [held.address for held in sandbox.vendors.suppressed.held] == ["hard-bounce+2@example.com"]
    again = Result.REMOVED if vendor == "postmark" else Result.NOT_THERE  # Postmark says "Deleted" either way.
    assert await ask([one], "hard-bounce+1@example.com") == [Reactivated("mail", again)]


@vendor
async def test_a_complaint_is_let_go_where_the_vendor_does_so(
    vendor: str, sandbox: Sandbox, sender: VendorSender
) -> None:
    one = account(sandbox, vendor)
    await send(sender, one, message("complaint"))
    (said,) = await ask([one], "complaint@example.com")
    if vendor == "postmark":
        assert said == Reactivated("mail", Result.REFUSED, "postmark_not_reactivated")
        assert places(sandbox, vendor) == ["outbound"]
    else:
        assert said == Reactivated("mail", Result.REMOVED)
        assert places(sandbox, vendor) == []


@vendor
async def test_an_odd_address_arrives_as_it_is(vendor: str, sandbox: Sandbox) -> None:
    (said,) = await ask([account(sandbox, vendor)], f"{ODD}@example.com")
    assert said.result is (Result.REMOVED if vendor == "postmark" else Result.NOT_THERE), said


@vendor
async def test_a_wrong_key_is_refused(vendor: str, sandbox: Sandbox, sender: VendorSender) -> None:
    await send(sender, account(sandbox, vendor), message("hard-bounce"))
    (said,) = await ask([account(sandbox, vendor, **WRONG[vendor])], "hard-bounce@example.com")
    assert (said.result, len(places(sandbox, vendor))) == (Result.REFUSED, 1)


async def test_postmark_is_asked_for_both_streams(sandbox: Sandbox, sender: VendorSender) -> None:
    one = account(sandbox, "postmark")
    await send(sender, one, message("hard-bounce"))
    await send(sender, one, msgspec.structs.replace(message("hard-bounce"), klass=Class.MARKETING))
    assert places(sandbox, "postmark") == ["outbound", "broadcast"]
    await ask([one], "hard-bounce@example.com")
    assert places(sandbox, "postmark") == []


async def test_each_account_is_told_by_itself(sandbox: Sandbox, sender: VendorSender) -> None:
    away = Account("away", "sendgrid", Channel.EMAIL, settings={"api_key": "x", "endpoint": "http://127.0.0.1:9"})
    guarded = Account("guarded", "sendgrid", Channel.EMAIL, settings={"api_key": "x", "endpoint": "http://10.0.0.1"})
    broken = Account("broken", "ses", Channel.EMAIL)
    none = Account("none", "noop", Channel.EMAIL)
    await send(sender, account(sandbox, "ses"), message("hard-bounce"))
    said = await ask([away, account(sandbox, "ses"), none, guarded, broken], "hard-bounce@example.com")
    assert said == [
        Reactivated("away", Result.UNREACHABLE, "connect"),
        Reactivated("mail", Result.REMOVED),
        Reactivated("guarded", Result.REFUSED, "guard_address"),
        Reactivated("broken", Result.UNREACHABLE, "account_not_usable"),
    ]


async def test_a_vendor_that_says_nothing_is_left(sandbox: Sandbox) -> None:
    await post(sandbox, "faults", {"vendor": "ses", "at": "request", "do": "stall"})
    (said,) = await ask([account(sandbox, "ses")], "ada@example.com", 0.2)
    assert said == Reactivated("mail", Result.UNREACHABLE, "timeout")


def test_every_vendor_can_be_asked() -> None:
    assert sorted(REACTIVATES) == VENDORS
