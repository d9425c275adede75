"""What account a server gets, as root and as anybody else."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ulak.io.embedded import account
from ulak.io.embedded.account import Account
from ulak.io.embedded.errors import EmbeddedError

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
NOBODY = Account("nobody", 65534, 65534)


def test_a_plain_user_stays_who_he_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert account.choose(tmp_path, wanted="postgres", owner_of=tmp_path) is None


@ROOT
def test_root_becomes_an_account_that_reaches_the_place(spot: Path) -> None:
    chosen = account.choose(spot / "new", wanted=None, owner_of=spot / "none")
    assert chosen is not None
    assert chosen.uid != 0
    assert chosen.name in account.CANDIDATES


@ROOT
def test_root_takes_the_account_that_owns_the_data(spot: Path) -> None:
    (spot / "postgres").mkdir()
    owner = pwd.getpwnam("daemon")
    os.chown(spot / "postgres", owner.pw_uid, owner.pw_gid)
    chosen = account.choose(spot, wanted=None, owner_of=spot / "postgres")
    assert chosen is not None
    assert chosen.name == "daemon"


@ROOT
def test_root_takes_the_account_that_is_asked_for(spot: Path) -> None:
    chosen = account.choose(spot, wanted="daemon", owner_of=spot / "none")
    assert chosen is not None
    assert chosen.name == "daemon"


@ROOT
@pytest.mark.parametrize("name", ["root", "nobody-knows-me"])
def test_root_and_unknown_accounts_are_refused(spot: Path, name: str) -> None:
    with pytest.raises(EmbeddedError, match="no unprivileged account"):
        account.choose(spot, wanted=name, owner_of=spot / "none")


@ROOT
def test_a_closed_directory_on_the_way_is_named_and_left_closed(spot: Path) -> None:
    closed = spot / "home"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=f"may not enter {closed}") as raised:
        account.choose(closed / "ulak" / "data", wanted=None, owner_of=closed / "none")
    assert "plain user" in raised.value.hint
    assert closed.stat().st_mode & 0o777 == 0o700


@ROOT
def test_an_owner_without_name_is_explained(spot: Path) -> None:
    os.chown(spot, 54321, 54321)
    with pytest.raises(EmbeddedError, match="54321, which has no name"):
        account.choose(spot, wanted=None, owner_of=spot)


def test_an_own_uid_without_name_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(EmbeddedError, match="User id 54321 has no name") as raised:
        account.own_name()
    assert "/etc/passwd" in raised.value.hint
    assert "ULAK_DATABASE_URL" in raised.value.hint


@pytest.mark.parametrize(("mode", "stops"), [(0o755, False), (0o711, False), (0o700, True), (0o750, True)])
def test_a_barrier_is_a_directory_without_the_right_to_pass(tmp_path: Path, mode: int, stops: bool) -> None:
    step = tmp_path / "step"
    step.mkdir()
    step.chmod(mode)
    stranger = Account("stranger", os.geteuid() + 54321, os.getegid() + 54321)
    wall = account.barrier(step, stranger)
    if wall != step:  # pytest's own directories are closed already
        assert (wall is not None) or not stops
    assert account.barrier(step, Account("me", step.stat().st_uid, 0)) in (None, wall)


def test_what_does_not_exist_is_no_barrier() -> None:
    assert account.barrier(Path("/nowhere/at/all"), NOBODY) is None
