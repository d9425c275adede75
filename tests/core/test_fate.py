"""Is what several calls said of a device folded into one change of it, with evidence that tells no address?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.device import AddressKind, Device, Fate
from ulak.core.fate import BUSY, DISABLES, EVIDENCE, LONGEST, Change, Told, folded, told
from ulak.core.outcome import Kind, Outcome, accepted, outcome

THEN = datetime(2026, 11, 22, 12, tzinfo=UTC)
PHONE = Device("dev_1", AddressKind.APNS, "com.app", "ios", "aa" * 32, THEN)
WEB = Device("dev_2", AddressKind.WEBPUSH, "", "web", "https://push.example/1", THEN, p256dh="BKey", auth="Secret")

dates = st.none() | st.integers(-10, 10).map(lambda s: THEN + timedelta(seconds=s))
one = st.builds(
    Told,
    st.sampled_from([PHONE, WEB, Device("dev_1", AddressKind.APNS, "", "ios", "bb" * 32, THEN + timedelta(seconds=1))]),
    st.just("main"),
    st.just(Kind.RETRY),
    st.text(max_size=9),
    st.none() | st.sampled_from(Fate),
    st.floats(0, LONGEST),
    dates,
)


def said(
    fate: Fate | None, kind: Kind = Kind.RECIPIENT_PERMANENT, detail: str = "", wait: float | None = None
) -> Outcome:
    plain = outcome(kind, "refused", detail=detail, wait=wait)
    return Outcome(plain.kind, plain.reason, plain.blame, plain.detail, None, wait, None, fate)


def change(*fates: Fate) -> Change:
    (made,) = folded((0, told(PHONE, said(fate), "main", "dlv_1")) for fate in fates)
    return made


@given(st.lists(st.tuples(st.integers(0, 2), one), max_size=12))
def test_each_registration_gets_one_change_in_the_order_of_the_rows(items: list[tuple[int, Told]]) -> None:
    changes = folded(items)
    keys = [(c.tenant, c.device.id, c.device.registered_at, c.device.address) for c in changes]
    assert keys == sorted(set(keys))
    assert set(keys) == {
        (tenant, t.device.id, t.device.registered_at, t.device.address) for tenant, t in items if t.fate is not None
    }
    for c in changes:
        group = [t for tenant, t in items if (tenant, t.device) == (c.tenant, c.device) and t.fate is not None]
        fates = [t.fate for t in group]
        assert c.last in group
        assert c.dies == bool({Fate.DEAD, Fate.DOUBTED} & set(fates))
        assert not c.dies or c.last.fate in (Fate.DEAD, Fate.DOUBTED), "the evidence is that of the death"
        assert c.flips == (Fate.OTHER_ENVIRONMENT in fates)
        assert (c.wait is None) == (Fate.BUSY not in fates)
        assert c.resets == (Fate.ALIVE in fates)
        last_alive = max((n for n, fate in enumerate(fates) if fate is Fate.ALIVE), default=-1)
        assert c.strikes == fates[last_alive + 1 :].count(Fate.STRIKE)


@pytest.mark.parametrize(
    ("since", "kept"),
    [([None], None), ([-5], -5), ([-5, 5], 5), ([5, None], None)],
)
def test_one_death_without_a_date_makes_the_others_dates_needless(since: list[int | None], kept: int | None) -> None:
    def at(s: int | None) -> datetime | None:
        return None if s is None else THEN + timedelta(seconds=s)

    items = [(0, Told(PHONE, "main", Kind.RECIPIENT_PERMANENT, "gone", Fate.DEAD, dead_since=at(s))) for s in since]
    (made,) = folded(items)
    assert made.dead_since == at(kept)


def test_strikes_after_a_success_count_anew() -> None:
    made = change(Fate.STRIKE, Fate.STRIKE, Fate.ALIVE, Fate.STRIKE)
    assert (made.resets, made.strikes) == (True, 1)
    assert change(Fate.STRIKE, Fate.STRIKE).strikes == 2
    assert not change(Fate.STRIKE).resets


def test_a_success_says_that_a_device_with_strikes_lives_and_nothing_of_another() -> None:
    struck = Device("dev_1", AddressKind.APNS, "", "ios", "aa", THEN, strikes=3)
    assert told(struck, accepted(), "main", "dlv_1").fate is Fate.ALIVE
    assert told(PHONE, accepted(), "main", "dlv_1").fate is None
    assert told(struck, outcome(Kind.UNKNOWN, "lost"), "main", "dlv_1").fate is None


@pytest.mark.parametrize(("asked", "wait"), [(None, BUSY), (5.0, 5.0), (-1.0, 0.0), (1e9, LONGEST)])
def test_a_wait_is_as_asked_within_bounds(asked: float | None, wait: float) -> None:
    assert told(PHONE, said(Fate.BUSY, Kind.RECIPIENT_TEMPORARY, wait=asked), "main", "dlv_1").wait == wait


@given(st.sampled_from(sorted(DISABLES)), st.sampled_from([PHONE, WEB]), st.text(max_size=400), st.integers(0, 400))
def test_evidence_names_the_delivery_and_never_an_address(fate: Fate, device: Device, text: str, place: int) -> None:
    secrets = [device.address, device.p256dh, device.auth]
    detail = text[:place] + " ".join(secrets) + text[place:]
    evidence = told(device, said(fate, detail=detail), "main", "dlv_0192").evidence
    assert len(evidence) <= EVIDENCE
    assert evidence.startswith("refused: ")
    assert evidence.endswith(" (dlv_0192)")
    assert "\0" not in evidence
    assert not any(secret in evidence for secret in secrets if secret)


def test_what_can_not_disable_keeps_no_evidence() -> None:
    assert told(PHONE, said(Fate.BUSY), "main", "dlv_1").evidence == ""
    assert told(PHONE, said(None), "main", "dlv_1").fate is None
    assert PHONE.address not in repr(told(PHONE, said(Fate.DEAD), "main", "dlv_1"))
