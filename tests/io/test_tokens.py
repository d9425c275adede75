"""Does a node believe whom it should, refuse who was taken back, and nobody while it can't know?"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from ulak.core import token
from ulak.core.issuer import Issuer
from ulak.core.revocation import Revocation
from ulak.core.token import TokenError
from ulak.io import tokens as module
from ulak.io.postgres.keys import Keys
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.revocations import Revocations
from ulak.io.postgres.secrets import Purpose, Secrets
from ulak.io.tokens import BLIND, SETTLE, Stores, Times, Tokens
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Phase

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

PRIVATE = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("k1", "k2")}
ISSUER = "https://id.example.com"
LOGIN = Issuer("login", ISSUER, "ulak", "ES256", "https://id.example.com/jwks")


class Provider:
    """An identity provider behind a client that answers at once."""

    def __init__(self) -> None:
        self.kids: Sequence[str] = ("k1",)
        self.asked = 0
        self.lost = False

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost:
        assert request.url == LOGIN.jwks_url
        self.asked += 1
        if self.lost:
            return Lost(Phase.NOT_SENT, "connect")
        rows = [{**ECAlgorithm.to_jwk(PRIVATE[kid].public_key(), as_dict=True), "kid": kid} for kid in self.kids]
        return HttpReply(200, {}, json.dumps({"keys": rows}).encode())


@dataclass
class Node:
    """What believes users on one node, with a clock of its own."""

    pool: Pool
    ahead: float = 0.0
    later: float = 0.0
    provider: Provider = field(default_factory=Provider)
    issuers: Mapping[tuple[int, str], Issuer] = field(default_factory=dict)
    heard: list[Revocation] = field(default_factory=list)

    def __post_init__(self) -> None:
        stores = Stores(
            Keys(self.pool), Secrets(self.pool), Revocations(self.pool), lambda: self.issuers, self.provider
        )
        times = Times(lambda: time.time() + self.ahead, lambda: time.monotonic() + self.later, os.urandom)
        self.tokens = Tokens(stores, times)
        self.tokens.listen(self.heard.extend)


async def refused(node: Node, text: str, *, ticket: bool = False) -> str:
    with pytest.raises(TokenError) as caught:
        await (node.tokens.redeem if ticket else node.tokens.verify)(text)
    return caught.value.code


def theirs(kid: str = "k1", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "ulak", "sub": "ann", "iat": now, "exp": now + 600, **changes}
    return jwt.encode(claims, PRIVATE[kid], "ES256", {"kid": kid})


# ------------------------------------------------------------------------------------------ tokens


async def test_a_token_of_one_node_is_believed_by_another(store: Pool) -> None:
    one, other = Node(store), Node(store)
    await other.tokens.poll()  # before there is a key
    issued = await one.tokens.issue(4, "octocat", 60, ["orders", "room:*"])
    claims = await other.tokens.verify(issued.text)
    assert (claims.tenant, claims.user, claims.token_id) == (4, "octocat", issued.token_id)
    assert claims.topics == ("orders", "room:*")
    assert claims.expires_at == issued.expires_at.timestamp()


async def test_tokens_have_ids_of_their_own(store: Pool) -> None:
    node = Node(store)
    made = {(await node.tokens.issue(4, "octocat", 60)).token_id for _ in range(5)}
    assert len(made) == 5
    assert all(each.startswith("tok_") and len(each) == 28 for each in made)


async def test_a_remembered_token_ends_on_time(store: Pool) -> None:
    node = Node(store)
    issued = await node.tokens.issue(4, "octocat", 60)
    await node.tokens.verify(issued.text)
    node.ahead = 61
    assert await refused(node, issued.text) == "token_expired"


async def test_a_remembered_token_is_not_judged_again(store: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(store)
    issued = await node.tokens.issue(4, "octocat", 60)
    before = await node.tokens.verify(issued.text)
    monkeypatch.setattr(token, "verify", None)
    assert await node.tokens.verify(issued.text) is before


async def test_a_key_that_was_removed_ends_its_tokens_though_remembered(store: Pool) -> None:
    node = Node(store)
    issued = await node.tokens.issue(4, "octocat", 600)
    await node.tokens.verify(issued.text)
    await store.execute("DELETE FROM token_keys")
    await store.execute("UPDATE changes SET version = version + 1 WHERE name = 'api_keys'")
    await node.tokens.poll()
    assert await refused(node, issued.text) == "token_key"


async def test_rotation_keeps_old_tokens_and_signs_with_the_new_key(store: Pool) -> None:
    node = Node(store)
    old = await node.tokens.issue(4, "octocat", 600)
    await Keys(store).add_token_key(4, "new", b"n" * 32, rotate=True)
    await node.tokens.poll()
    new = await node.tokens.issue(4, "octocat", 600)
    assert jwt.get_unverified_header(new.text)["kid"] == "new"
    assert (await node.tokens.verify(old.text)).user == (await node.tokens.verify(new.text)).user == "octocat"


async def test_invented_key_ids_share_a_question(store: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(store)
    await node.tokens.poll()
    invented = jwt.encode({"sub": "x"}, b"s" * 32, headers={"kid": "invented"})
    asked = 0
    read = node.tokens._stores.keys.all_token_keys

    async def counted() -> Any:
        nonlocal asked
        asked += 1
        return await read()

    monkeypatch.setattr(node.tokens._stores.keys, "all_token_keys", counted)
    assert {*await asyncio.gather(*(refused(node, invented) for _ in range(50)))} == {"token_key"}
    assert asked == 1
    assert await refused(node, invented) == "token_key"
    assert asked == 2


# ------------------------------------------------------------------------------------- revocations


async def test_all_tokens_until_now_end_here_at_once_and_elsewhere_with_the_next_poll(store: Pool) -> None:
    one, other = Node(store), Node(store)
    before = await one.tokens.issue(4, "octocat", 600)
    claims = await other.tokens.verify(before.text)
    ticket = other.tokens.ticket(claims, "phone")
    entry = await one.tokens.revoke(4, "octocat")
    assert await refused(one, before.text) == "token_revoked"
    await other.tokens.poll()
    assert await refused(other, before.text) == "token_revoked"
    assert await refused(other, ticket, ticket=True) == "token_revoked"
    assert other.tokens.revoked(claims)
    assert one.heard == other.heard == [entry]
    after = await other.tokens.issue(4, "octocat", 600)
    for node in (one, other, Node(store)):
        assert (await node.tokens.verify(after.text)).user == "octocat"


async def test_clocks_that_differ_do_not_change_what_was_before(store: Pool) -> None:
    """The node that makes tokens is 40 s ahead, then 40 s behind."""
    for ahead in (40.0, -40.0):
        node = Node(store, ahead=ahead)
        before = await node.tokens.issue(4, "octocat", 600)
        await node.tokens.revoke(4, "octocat")
        after = await node.tokens.issue(4, "octocat", 600)
        assert await refused(node, before.text) == "token_revoked"
        assert (await node.tokens.verify(after.text)).user == "octocat"


async def test_one_token_ends_by_its_id(store: Pool) -> None:
    node = Node(store)
    one, other = [await node.tokens.issue(4, "octocat", 600) for _ in range(2)]
    ticket = node.tokens.ticket(await node.tokens.verify(one.text), None)
    await node.tokens.revoke(4, "octocat", one.token_id)
    assert await refused(node, one.text) == "token_revoked"
    assert await refused(node, ticket, ticket=True) == "token_revoked"
    assert (await node.tokens.verify(other.text)).user == "octocat"


async def test_a_node_that_starts_knows_what_was_taken_back_before(store: Pool) -> None:
    node = Node(store)
    issued = await node.tokens.issue(4, "octocat", 600)
    await node.tokens.revoke(4, "octocat", issued.token_id)
    assert await refused(Node(store), issued.text) == "token_revoked"


async def test_numbers_that_were_asked_for_before_a_revocation_do_not_undo_it(store: Pool) -> None:
    node = Node(store)
    versions = await Revocations(store).versions()
    issued = await node.tokens.issue(4, "octocat", 600)
    asked_at = time.monotonic()
    await node.tokens.revoke(4, "octocat")
    await node.tokens.poll(versions, asked_at)
    assert await refused(node, issued.text) == "token_revoked"
    assert len(node.heard) == 1


async def test_a_database_that_was_put_back_in_time_is_read_from_the_beginning(store: Pool) -> None:
    node = Node(store)
    for _ in range(3):
        await node.tokens.revoke(4, "hubot")
    await store.execute("DELETE FROM revocations")
    await store.execute("UPDATE changes SET version = 0 WHERE name = 'revocations'")
    await Revocations(store).add(4, "octocat", "tok_1")
    node.later += 1
    await node.tokens.poll()
    assert node.heard[-1].token_id == "tok_1"


async def test_what_can_matter_no_longer_is_forgotten(store: Pool) -> None:
    node = Node(store)
    await node.tokens.revoke(4, "octocat")
    await node.tokens.tidy()
    assert len(node.tokens._revoked) == 1
    node.ahead = 100_000
    await node.tokens.tidy()
    assert len(node.tokens._revoked) == 0


async def test_a_node_that_can_not_read_the_log_believes_nobody(store: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(store)
    issued = await node.tokens.issue(4, "octocat", 600)
    ticket = node.tokens.ticket(await node.tokens.verify(issued.text), None)
    node.later = BLIND - 1
    assert (await node.tokens.verify(issued.text)).user == "octocat"
    node.later = BLIND + 0.1
    assert await refused(node, issued.text) == "token_unavailable"
    assert await refused(node, ticket, ticket=True) == "token_unavailable"

    async def away() -> dict[str, int]:
        raise ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr(node.tokens._stores.revocations, "versions", away)
        with pytest.raises(ConnectionRefusedError):
            await node.tokens.poll()
        assert await refused(node, issued.text) == "token_unavailable"
    await node.tokens.poll()
    assert (await node.tokens.verify(issued.text)).user == "octocat"


async def test_half_a_poll_is_none(store: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers came, the log did not: what it says is still unknown."""
    node, other = Node(store), Node(store)
    issued = await node.tokens.issue(4, "octocat", 600)
    await node.tokens.verify(issued.text)
    await other.tokens.revoke(4, "octocat")

    async def away(position: int) -> Any:
        raise ConnectionResetError

    node.later += BLIND + 1
    with monkeypatch.context() as patch:
        patch.setattr(node.tokens._stores.revocations, "since", away)
        with pytest.raises(ConnectionResetError):
            await node.tokens.poll()
    assert await refused(node, issued.text) == "token_unavailable"
    await node.tokens.poll()
    assert await refused(node, issued.text) == "token_revoked"


async def test_believing_asks_the_database_nothing(store: Pool) -> None:
    node = Node(store)
    issued = await node.tokens.issue(4, "octocat", 600)
    await node.tokens.poll()
    store.terminate()
    claims = await node.tokens.verify(issued.text)
    assert (await node.tokens.redeem(node.tokens.ticket(claims, None))).user == "octocat"


# ----------------------------------------------------------------------------------------- tickets


async def test_a_ticket_of_one_node_opens_another_and_repeats_its_token(store: Pool) -> None:
    one, other = Node(store), Node(store)
    issued = await one.tokens.issue(4, "octocat", 600, ["t"])
    claims = await one.tokens.verify(issued.text)
    again = await other.tokens.redeem(one.tokens.ticket(claims, "phone"))
    assert again.device == "phone"
    assert (again.token_id, again.expires_at, again.topics) == (claims.token_id, claims.expires_at, ("t",))


async def test_a_new_secret_signs_only_when_every_node_knows_it(store: Pool) -> None:
    one, other = Node(store), Node(store)
    claims = await one.tokens.verify((await one.tokens.issue(4, "octocat", 600)).text)
    await other.tokens.poll()
    old = one.tokens.ticket(claims, None)
    await Secrets(store).rotate(Purpose.TICKET, os.urandom(32), -1)
    await one.tokens.poll()
    assert (await other.tokens.redeem(one.tokens.ticket(claims, None))).user == "octocat"  # which knows the old one
    for node in (one, other):
        node.later += SETTLE
        await node.tokens.poll()
    new = one.tokens.ticket(claims, None)
    assert (await other.tokens.redeem(new)).user == (await other.tokens.redeem(old)).user == "octocat"
    await Secrets(store).delete(Purpose.TICKET, -1)
    await store.execute("UPDATE changes SET version = version + 1 WHERE name = 'secrets'")
    await other.tokens.poll()
    assert await refused(other, old, ticket=True) == "ticket_invalid"
    assert (await other.tokens.redeem(new)).user == "octocat"


# ------------------------------------------------------------------------------- identity providers


async def test_an_issuers_token_is_believed_as_soon_as_its_project_is_applied(store: Pool) -> None:
    node = Node(store)
    await node.tokens.poll()
    assert await refused(node, theirs()) == "token_key"
    node.issuers = {(7, "login"): LOGIN}
    await node.tokens.poll()
    claims = await node.tokens.verify(theirs(jti="j1"))
    assert (claims.tenant, claims.user, claims.token_id, claims.position) == (7, "ann", "j1", -1)
    node.issuers = {}
    await node.tokens.poll()
    assert await refused(node, theirs(jti="j1")) == "token_key"


async def test_a_rotated_key_is_fetched_once_and_a_key_that_is_gone_ends_its_tokens(store: Pool) -> None:
    node = Node(store, issuers={(7, "login"): LOGIN})
    old = theirs()
    await node.tokens.verify(old)
    node.provider.kids = ("k2",)
    assert await refused(node, theirs("k2")) == "token_key"  # just asked
    node.later += 31
    await node.tokens.poll()
    answers = await asyncio.gather(*(node.tokens.verify(theirs("k2", jti=str(n))) for n in range(20)))
    assert len({claims.token_id for claims in answers}) == 20
    assert node.provider.asked == 2
    assert await refused(node, old) == "token_key"


async def test_an_issuer_that_never_answered_leaves_its_users_waiting_not_refused(store: Pool) -> None:
    node = Node(store, issuers={(7, "login"): LOGIN})
    node.provider.lost = True
    for _ in range(3):
        assert await refused(node, theirs()) == "token_unavailable"
    assert node.provider.asked == 1
    own = await node.tokens.issue(7, "ann", 60)
    assert (await node.tokens.verify(own.text)).user == "ann"
    node.provider.lost = False
    node.later += 31
    await node.tokens.poll()
    assert (await node.tokens.verify(theirs())).user == "ann"


async def test_an_address_in_a_token_is_never_asked(store: Pool) -> None:
    """CVE-2026-32301: the provider double fails on any URL but the configured one."""
    node = Node(store, issuers={(7, "login"): LOGIN})
    await node.tokens.verify(theirs())
    node.later += 31
    await node.tokens.poll()
    for headers in ({"jku": "http://evil.example.com/"}, {"x5u": "http://evil.example.com/"}, {"kid": "http://e.com/"}):
        claims = {"iss": "http://evil.example.com", "aud": "ulak", "sub": "ann", "iat": 1, "exp": 2}
        assert await refused(node, jwt.encode(claims, PRIVATE["k2"], "ES256", {"kid": "k1", **headers})) == "token_key"
    assert node.provider.asked == 1


async def test_an_issuers_tokens_until_now_end_and_later_ones_do_not(store: Pool) -> None:
    node = Node(store, issuers={(7, "login"): LOGIN})
    now = int(time.time())
    before, after = theirs(iat=now, exp=now + 600), theirs(iat=now + 2, exp=now + 600)
    await node.tokens.verify(before)
    await node.tokens.revoke(7, "ann")
    assert await refused(node, before) == "token_revoked"
    assert (await node.tokens.verify(after)).user == "ann"


async def test_the_same_user_of_another_tenant_is_not_concerned(store: Pool) -> None:
    node = Node(store)
    mine, foreign = await node.tokens.issue(4, "octocat", 600), await node.tokens.issue(5, "octocat", 600)
    await node.tokens.revoke(4, "octocat")
    assert await refused(node, mine.text) == "token_revoked"
    assert (await node.tokens.verify(foreign.text)).tenant == 5


# ------------------------------------------------------------------------------------------ upkeep


async def test_upkeep_goes_on_after_a_database_that_was_away(
    store: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(store, issuers={(7, "login"): LOGIN})
    await node.tokens.poll()
    monkeypatch.setattr(module, "_STEP", 0.0)
    monkeypatch.setattr(module, "_UPKEEP", 0.0)
    rounds = asyncio.Event()
    count = 0

    async def tidy() -> None:
        nonlocal count
        count += 1
        if count == 1:
            raise ConnectionResetError("password=secret")
        rounds.set()

    monkeypatch.setattr(node.tokens, "tidy", tidy)
    running = asyncio.create_task(node.tokens.run())
    await asyncio.wait_for(rounds.wait(), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await node.tokens.stop()
    assert node.provider.asked == 1
    assert "ConnectionResetError" in caplog.text
    assert "password" not in caplog.text
    assert cast(Any, running).cancelled()
