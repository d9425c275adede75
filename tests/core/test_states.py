"""Is the state machine what its page says, and do receipts tell the truth in any order?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core import states_page
from ulak.core.reasons import SENTENCES, Reason
from ulak.core.states import (
    ENDS,
    MEANING,
    RECEIPTS,
    SETTLED,
    TRANSITIONS,
    Event,
    Folded,
    Happened,
    Refused,
    State,
    fold,
    step,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def log(*events: Event) -> list[Happened]:
    return [Happened(event, START + timedelta(seconds=at)) for at, event in enumerate(events)]


@st.composite
def legal(draw: st.DrawFn) -> list[Happened]:
    state: State | None = None
    events: list[Event] = []
    for _ in range(draw(st.integers(1, 10))):
        choices = sorted({event for at, event in TRANSITIONS if at is state})
        events.append(draw(st.sampled_from(choices)))
        state = TRANSITIONS[state, events[-1]]
    return log(*events)


@given(legal())
def test_a_fold_is_total_over_legal_logs_and_settles_exactly_in_settled_states(happened: list[Happened]) -> None:
    folded = fold(happened)
    assert folded.state is not None
    assert (folded.settled_at is not None) == (folded.state in SETTLED)
    assert folded.attempts <= sum(each.event is Event.BEGAN for each in happened)


@given(legal(), st.sampled_from(Event))
def test_an_end_is_left_only_by_a_receipt_or_a_redrive(happened: list[Happened], event: Event) -> None:
    folded = fold(happened)
    if folded.state not in ENDS:
        return
    try:
        after = step(folded, Happened(event, START)).state
    except Refused:
        return
    assert after is folded.state or event in RECEIPTS | {Event.REDRIVEN}


@given(legal(), st.lists(st.sampled_from(sorted(RECEIPTS)), max_size=4))
def test_receipts_commute(happened: list[Happened], receipts: Sequence[Event]) -> None:
    # Times stay with their receipts: what arrives in another order happened all the same.
    rows = [Happened(event, START + timedelta(hours=at)) for at, event in enumerate(receipts)]
    base = fold(happened)

    def end(order: Sequence[Happened]) -> tuple[State | None, dict[Event, datetime]]:
        folded = base
        for each in order:
            folded = step(folded, each)
        return folded.state, dict(folded.times)

    assert all(end(order) == end(rows) for order in permutations(rows))


@pytest.mark.parametrize("receipt", [Event.DELIVERED, Event.BOUNCED])
@pytest.mark.parametrize(
    "answer", [Event.ACCEPTED, Event.RETRY, Event.THROTTLED, Event.UNKNOWN, Event.FAILED, Event.PARKED, Event.EXPIRED]
)
def test_a_receipt_that_overtakes_the_outcome_of_its_call_wins(receipt: Event, answer: Event) -> None:
    early = fold(log(Event.PLANNED, Event.BEGAN, receipt, answer))
    late = fold(log(Event.PLANNED, Event.BEGAN, answer, receipt))
    assert early.state is late.state
    assert early.state in (State.DELIVERED, State.BOUNCED)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((Event.PLANNED, Event.EXPIRED, Event.DELIVERED), State.DELIVERED),
        ((Event.PLANNED, Event.BEGAN, Event.ACCEPTED, Event.DELIVERED, Event.BOUNCED), State.BOUNCED),
        ((Event.PLANNED, Event.BEGAN, Event.ACCEPTED, Event.BOUNCED, Event.DELIVERED), State.BOUNCED),
        ((Event.PLANNED, Event.BEGAN, Event.UNKNOWN, Event.UNRESOLVED, Event.SEEN), State.DELIVERED),
        ((Event.PLANNED, Event.BEGAN, Event.UNKNOWN, Event.BEGAN, Event.ACCEPTED), State.ACCEPTED),
        ((Event.PLANNED, Event.BEGAN, Event.PARKED, Event.REDRIVEN), State.RETRYING),
        ((Event.HELD, Event.DUE, Event.BEGAN, Event.THROTTLED, Event.BEGAN, Event.ACCEPTED), State.ACCEPTED),
        ((Event.STORED, Event.SEEN, Event.ARCHIVED), State.DELIVERED),
        ((Event.SKIPPED,), State.SKIPPED),
    ],
)
def test_a_log_adds_up_to(events: tuple[Event, ...], state: State) -> None:
    assert fold(log(*events)).state is state


@pytest.mark.parametrize(
    "events",
    [
        (Event.BEGAN,),
        (Event.PLANNED, Event.ACCEPTED),
        (Event.PLANNED, Event.EXPIRED, Event.BEGAN),
        (Event.PLANNED, Event.BEGAN, Event.ACCEPTED, Event.BEGAN),
        (Event.PLANNED, Event.BEGAN, Event.CANCELLED),
        (Event.PLANNED, Event.SKIPPED, Event.REDRIVEN),
        (Event.DELIVERED,),
    ],
)
def test_what_the_table_does_not_know_is_refused(events: tuple[Event, ...]) -> None:
    with pytest.raises(Refused, match="can't happen"):
        fold(log(*events))


def test_times_reasons_and_tries_are_folded() -> None:
    happened = log(Event.PLANNED, Event.BEGAN, Event.THROTTLED, Event.BEGAN, Event.RETRY, Event.BEGAN, Event.ACCEPTED)
    happened += [Happened(Event.READ, START + timedelta(hours=2)), Happened(Event.SEEN, START + timedelta(hours=1))]
    folded = fold(happened)
    assert folded.attempts == 2
    assert folded.times[Event.DELIVERED] == START + timedelta(hours=1)
    assert folded.times[Event.READ] == START + timedelta(hours=2)
    assert folded.settled_at == happened[6].at
    assert fold([Happened(Event.SKIPPED, START, "opted_out")]).reason == "opted_out"
    assert Folded().state is None


def test_every_word_has_its_sentence() -> None:
    assert set(SENTENCES) == set(Reason)
    assert set(MEANING) == set(Event)
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())
    assert {state for state, _ in TRANSITIONS if state} | set(TRANSITIONS.values()) == set(State)


def test_the_page_is_what_the_tables_say() -> None:
    committed = (ROOT / "docs/reference/states.md").read_text(encoding="utf-8")
    assert committed == states_page.page(), "run python -m tools.reference"
