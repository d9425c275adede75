"""Whatever apps register in whatever order: does an address have one owner, and does a push reach nobody else?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ulak.core.binding import Held, Settlement, settle
from ulak.core.device import MAX_DEVICES, AddressKind, Environment
from ulak.core.registration import Registration

START = datetime(2026, 3, 1, tzinfo=UTC)
KINDS = st.sampled_from([AddressKind.APNS, AddressKind.FCM_TOKEN])
WANTED = st.builds(
    Registration,
    user=st.sampled_from("abc"),
    name=st.sampled_from(["1", "2", "3"]),
    app=st.sampled_from(["", "x"]),
    kind=KINDS,
    platform=st.just("ios"),
    address=st.sampled_from("pqrs"),
    environment=st.sampled_from([None, *Environment]),
)


def one(user: str = "a", name: str = "1", address: str = "p", **more: object) -> Registration:
    return Registration(user, name, "", AddressKind.APNS, "ios", address, **more)  # type: ignore[arg-type]


@dataclass
class Store:
    """Devices as the database would hold them."""

    rows: dict[str, Held] = field(default_factory=dict)
    made: int = 0

    def register(self, wanted: Registration) -> tuple[Settlement, str]:
        held = [
            row
            for row in self.rows.values()
            if row.user == wanted.user or (row.kind, row.digest) == (wanted.kind, wanted.digest)
        ]
        decided = settle(held, wanted)
        self.made += 1
        for gone in decided.gone:
            del self.rows[gone]
        name = decided.id or f"dev_{self.made}"
        assert name not in self.rows
        at = START + timedelta(seconds=self.made)
        self.rows[name] = Held(
            name,
            wanted.user,
            wanted.app,
            wanted.name,
            wanted.kind,
            wanted.digest,
            at,
            decided.created_at or at,
            decided.environment,
            decided.account,
            decided.wait_until,
        )
        return decided, name


@given(st.lists(WANTED, max_size=25))
@settings(max_examples=150)
def test_every_order_of_registrations_leaves_one_owner_and_tells_nobody_elses_news(wanted: list[Registration]) -> None:
    store, owners = Store(), dict[str, str]()
    for each in wanted:
        before = dict(store.rows)
        decided, name = store.register(each)
        rows = store.rows.values()
        assert len({(row.kind, row.digest) for row in rows}) == len(rows), "an address has one device"
        assert len({(row.user, row.app, row.name) for row in rows}) == len(rows), "a device has one address"
        row = store.rows[name]
        assert (row.user, row.app, row.name, row.digest) == (each.user, each.app, each.name, each.digest)
        assert owners.setdefault(name, each.user) == each.user, "an id never belongs to a second user"
        address = {key: (row.kind, row.digest) for key, row in store.rows.items()}
        ended = any(address.get(key) != (row.kind, row.digest) for key, row in before.items())
        assert decided.forbids == ended, "the gate is taken when a binding ends, and else not"


@given(st.lists(st.integers(0, 60), min_size=MAX_DEVICES, max_size=120))
def test_a_user_has_so_many_devices_and_the_one_seen_longest_ago_gives_way(names: list[int]) -> None:
    store, seen = Store(), list[str]()
    for number in names:
        name = str(number)
        full = len(seen) == MAX_DEVICES and name not in seen
        assert store.register(one(name=name, address=f"address {name}"))[0].forbids == full
        seen = [*(known for known in seen if known != name), name][-MAX_DEVICES:]
        assert sorted(row.name for row in store.rows.values()) == sorted(seen)


def test_a_device_with_a_new_address_keeps_its_id() -> None:
    store = Store()
    _, first = store.register(one())
    decided, again = store.register(one(address="q"))
    assert (again, decided.forbids, decided.created_at) == (first, True, START + timedelta(seconds=1))


def test_an_address_that_moves_gets_a_new_id_and_the_former_one_ends() -> None:
    store = Store()
    _, first = store.register(one("a"))
    decided, moved = store.register(one("b"))
    assert (moved == first, first in store.rows, decided.forbids, decided.created_at) == (False, False, True, None)


def test_an_address_that_moves_to_a_device_that_is_known_takes_that_ones_id() -> None:
    store = Store()
    _, theirs = store.register(one("a", address="p"))
    _, mine = store.register(one("b", address="q"))
    _, now = store.register(one("b", address="p"))
    assert (now, set(store.rows), theirs == now) == (mine, {mine}, False)


def test_a_device_that_only_has_another_name_forbids_nothing() -> None:
    store = Store()
    _, first = store.register(one(name="1"))
    decided, again = store.register(one(name="2"))
    assert (again, decided.forbids, len(store.rows)) == (first, False, 1)


def test_what_was_learned_of_an_address_stays_with_it() -> None:
    store, wait = Store(), START + timedelta(hours=1)
    store.rows["d"] = Held(
        "d",
        "a",
        "",
        "1",
        AddressKind.APNS,
        one().digest,
        START,
        START,
        environment=Environment.SANDBOX,
        account="old",
        wait_until=wait,
    )
    moved, _ = store.register(one("b", account="new"))
    assert (moved.environment, moved.account, moved.wait_until) == (Environment.SANDBOX, "old", wait)
    said, _ = store.register(one("c", account="new", named=True, environment=Environment.PRODUCTION))
    assert (said.environment, said.account) == (Environment.PRODUCTION, "new")
    fresh, _ = store.register(one("c", address="q", account="new"))
    assert (fresh.environment, fresh.account, fresh.wait_until) == (Environment.PRODUCTION, "new", None)
