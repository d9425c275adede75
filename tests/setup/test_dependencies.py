"""Does each dependency have its reason and its pin, and do the pins hold for every machine?"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def declared() -> set[str]:
    """The names that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {re.split(r"[<>=;\[ ]", line)[0] for line in project["dependencies"]}


def test_the_record_gives_a_reason_for_each() -> None:
    record = (ROOT / "docs/decisions/0002-dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (.*) \| (.*) \|$", record, re.MULTILINE)
    assert {name for name, *_ in rows if name not in {"package", "---"}} == declared()
    assert all(what and why for _, what, why in rows)


@pytest.mark.parametrize("file", ["run.txt", "dev.txt"])
def test_the_pins_are_complete_and_name_no_machine(file: str) -> None:
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z0-9-]+)==[^\n]* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    assert declared() <= set(pins)
    assert not re.search(r"https?://|file:|--index|--find-links|(?<![\w#])/[a-z]+/", text)


def test_development_pins_contain_the_others() -> None:
    def pinned(file: str) -> set[str]:
        return set(
            re.findall(r"^[a-z0-9-]+==\S+", (ROOT / "requirements" / file).read_text(encoding="utf-8"), re.MULTILINE)
        )

    assert pinned("run.txt") <= pinned("dev.txt")
