"""Where does the SQL live, and how is a statement found by its name?

Each file ``queries/<stage>.sql`` holds named statements: a line ``-- name: claim_ready``, comment
lines that say what it does and why, and one SQL statement. No SQL is put together at run time; a
test PREPAREs every statement against the current schema.
"""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class Queries:
    """The statements of one file, by attribute."""

    def __init__(self, stage: str, statements: dict[str, str]) -> None:
        self._stage = stage
        self._statements = statements

    def __getattr__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(f"no statement {name!r} in queries/{self._stage}.sql") from None

    def all(self) -> dict[str, str]:
        """Every statement by its name."""
        return dict(self._statements)


def load(stage: str) -> Queries:
    """Read ``queries/<stage>.sql``."""
    text = files(__name__).joinpath(f"{stage}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    statements = {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
    return Queries(stage, statements)


def stages() -> list[str]:
    """The names of all query files."""
    return sorted(f.name.removesuffix(".sql") for f in files(__name__).iterdir() if f.name.endswith(".sql"))
