from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.suppression_csv import COLUMNS, MAX_FAULTS, REASONS, Entry, NotCsv, read, write

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_WORD = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
_ENTRIES = st.lists(
    st.builds(
        Entry,
        st.just("push"),
        _WORD,
        _WORD,
        st.sampled_from(REASONS),
        st.none() | _WORD,
        st.none() | st.datetimes(datetime(2026, 2, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    ),
    unique_by=lambda each: (each.address, each.scope),
)


@given(_ENTRIES)
def test_what_goes_out_comes_in(entries: list[Entry]) -> None:
    rows = [{name: getattr(each, name) for name in COLUMNS} for each in entries]
    file = write(rows)
    parsed = read(file, NOW)
    assert (list(parsed.entries), parsed.rejected) == (entries, 0)


@given(_ENTRIES)
def test_no_field_is_a_formula(entries: list[Entry]) -> None:
    rows: list[dict[str, Any]] = [{name: getattr(each, name) for name in COLUMNS} for each in entries]
    for line in io.StringIO(write(rows).decode(), newline="").read().split("\r\n"):
        assert not line.startswith(("=", "+", "-", "@"))
        assert not any(f",{sign}" in line for sign in "=+-@") or '"' in line or any(c in line for c in "\n\r")


@given(st.binary(max_size=300))
def test_no_file_breaks_the_reader(data: bytes) -> None:
    with contextlib.suppress(NotCsv):
        read(b"channel,address\r\n" + data, NOW)


def test_lines_at_fault_are_told_up_to_a_bound() -> None:
    parsed = read(b"channel,address\r\n" + b"fax,x\r\n" * 500, NOW)
    assert (len(parsed.faults), parsed.rejected, len(parsed.entries)) == (MAX_FAULTS, 500, 0)


def test_the_last_line_of_an_address_wins() -> None:
    parsed = read(b"channel,address,evidence\r\nemail,A@B.co,one\r\nemail,a@b.co,two\r\n", NOW)
    assert [each.evidence for each in parsed.entries] == ["two"]


@pytest.mark.parametrize("time", ["tomorrow", "2027-01-01", "2027-01-01T00:00:00", "2025-12-31T23:59:59Z"])
def test_a_time_is_one_that_comes_with_its_offset(time: str) -> None:
    parsed = read(f"channel,address,expires_at\r\nemail,a@b.co,{time}\r\n".encode(), NOW)
    assert [fault.column for fault in parsed.faults] == ["expires_at"]
