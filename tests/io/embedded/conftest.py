"""What the tests of the embedded servers share: a place that an unprivileged account can reach, and owners to kill."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.io.embedded.helpers import Owner, wait_until
from ulak.io.embedded import account, postgres


@pytest.fixture
def spot() -> Iterator[Path]:
    """A directory that root's unprivileged account may pass; pytest's own are closed to it."""
    path = Path(tempfile.mkdtemp(prefix="ulak-test-"))
    path.chmod(0o755)
    yield path
    remove(path)


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A data directory for all tests of a module: whatever one does to it, the next must be able to start on it."""
    path = Path(tempfile.mkdtemp(prefix="ulak-test-"))
    path.chmod(0o755)
    postgres.start(path / "data").stop()
    yield path / "data"
    remove(path)


def remove(path: Path) -> None:
    """Delete a directory from which a server may still be deleting its own files after its owner was killed."""

    def gone() -> bool:
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()

    wait_until(gone)


@pytest.fixture
def owner() -> Iterator[Callable[[str, Path], Owner]]:
    owners: list[Owner] = []

    def make(what: str, directory: Path) -> Owner:
        owners.append(Owner(what, directory))
        return owners[-1]

    yield make
    for one in owners:
        one.close()


@pytest.fixture
def as_server(spot: Path) -> dict[str, Any]:
    """Keyword arguments of subprocess to run something as the account that servers get."""
    chosen = account.choose(spot, wanted=None, owner_of=spot / "none")
    return {} if chosen is None else {"user": chosen.uid, "group": chosen.gid, "extra_groups": []}
