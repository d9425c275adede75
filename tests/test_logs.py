"""Does the log tell what broke, and nothing of what a stranger had sent?"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import asyncpg
import pytest

from ulak import logs


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What a node writes."""
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: request.param == "terminal")
    monkeypatch.setattr("sys.stderr", out)
    root, uvicorn, access = (logging.getLogger(name) for name in ("", "uvicorn", "ulak.access"))
    before, levels = root.handlers[:], (root.level, uvicorn.level, access.level)
    root.handlers.clear()
    logs.set_up("info")
    yield out
    root.handlers[:] = before
    for logger, level in zip((root, uvicorn, access), levels, strict=True):
        logger.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False


WORDS = "Key (user_id)=(" + "ann) already exists."


def refused() -> None:
    raise asyncpg.UniqueViolationError(WORDS)


def fails() -> None:
    """As PostgreSQL's errors do, each of these quotes what it did not like."""
    try:
        refused()
    except asyncpg.PostgresError as error:
        second = KeyError(WORDS)
        second.__cause__ = error
        raise ExceptionGroup(WORDS, [second, ValueError(WORDS)]) from None


@pytest.mark.parametrize("written", ["terminal", "machine"], indirect=True)
def test_an_exception_is_told_by_its_type_and_place_alone(written: io.StringIO, request: pytest.FixtureRequest) -> None:
    try:
        fails()
    except ExceptionGroup:
        logging.getLogger("ulak.x").exception("it broke")
    text = written.getvalue()
    if "machine" in request.node.name:
        assert json.loads(text)["message"] == "it broke"
    assert "ann" not in text
    for told in ("ExceptionGroup", "KeyError", "UniqueViolationError (23505)", "ValueError", "in fails"):
        assert told in text


@pytest.mark.parametrize("written", ["terminal", "machine"], indirect=True)
def test_a_line_without_an_exception_is_what_was_said(written: io.StringIO) -> None:
    logging.getLogger("ulak.x").info("all is well")
    assert "all is well" in written.getvalue()
