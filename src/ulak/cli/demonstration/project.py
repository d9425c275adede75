"""What does the example project promise, and how is it pointed at the run's own sandbox?

The routes are read from ``ulak.toml`` here, with the standard library: the judge must not learn from
the code under test what ought to have happened.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ACCOUNT = re.compile(r"(?ms)^\[accounts\.\w+\]\n.*?(?=^\[|^#|\Z)")

MARKS = {"en": "You receive this because", "tr": "Bu iletiyi"}
"""How the last paragraph of every email template begins: tells the languages apart without Ulak's help."""

PUSH_MARKS = {"en": "On GitHub", "tr": "GitHub'da"}
"""How the text of every push begins."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One step of a route as the project states it; ``unless`` is ``seen``, ``read`` or empty."""

    channel: str
    after: float
    unless: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One notification type as the project states it."""

    category: str
    klass: str
    route: tuple[Leg, ...]


def kinds(folder: Path) -> Mapping[str, Kind]:
    """The types of a project folder, by name."""
    stated = tomllib.loads((folder / "ulak.toml").read_text(encoding="utf-8"))
    return {
        name: Kind(
            category=table["category"],
            klass=table.get("class", "transactional"),
            route=tuple(_leg(step) for step in table["route"]),
        )
        for name, table in stated["types"].items()
    }


def _leg(step: Mapping[str, str]) -> Leg:
    return Leg(step["channel"], _seconds(step.get("after", "0s")), step.get("unless", ""))


def _seconds(text: str) -> float:
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


def example() -> Path:
    """Where the example project lies: in the source tree, or beside the installed package.

    Raises ``FileNotFoundError`` when it is in neither place.
    """
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "examples" / "github", package.parents[1] / "examples" / "github"):
        if (folder / "ulak.toml").is_file():
            return folder
    message = "the example project examples/github is not part of this installation"
    raise FileNotFoundError(message)


def copy(source: Path, target: Path) -> None:
    """Copy a project folder and give its accounts short waits; the node puts the sandbox in their place."""
    shutil.copytree(source, target)
    config = target / "ulak.toml"
    text, found = _ACCOUNT.subn(lambda match: _hurried(match[0]), config.read_text(encoding="utf-8"))
    if not found:
        message = f"{config} has no [accounts.NAME]"
        raise ValueError(message)
    config.write_text(text, encoding="utf-8")


def _hurried(account: str) -> str:
    """An account's table with the waits of a run that lasts seconds."""
    rest = re.sub(r"(?m)^(?:timeout|reconcile_after) = .*\n", "", account).rstrip()
    return f'{rest}\ntimeout = "5s"\nreconcile_after = "2s"\n\n'
