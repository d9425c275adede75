"""What account the embedded servers run under: ours, or, when we are root, an existing one without privileges.

PostgreSQL refuses to run as root, and Valkey should not. No account is ever created and no permission changed for it.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ulak.io.embedded.errors import EmbeddedError

CANDIDATES = ("ulak", "postgres", "_postgres", "nobody", "daemon")


@dataclass(frozen=True)
class Account:
    """An unprivileged account to become."""

    name: str
    uid: int
    gid: int


def own_name() -> str:
    """The name of the user that we run as; PostgreSQL's peer authentication and initdb both need it."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise EmbeddedError(
            f"User id {uid} has no name on this system (no passwd entry), and PostgreSQL's initdb needs one.",
            "Run as a user that exists, add one when the image is built"
            f" (echo 'ulak:x:{uid}:{os.getegid()}::/:' >> /etc/passwd), or set ULAK_DATABASE_URL to a server.",
        ) from None


def choose(directory: Path, *, wanted: str | None, owner_of: Path) -> Account | None:
    """The account for a server under `directory`, or None to stay who we are (always so unless we are root).

    `wanted` is the configured name; else the owner of an existing `owner_of`; else the first of CANDIDATES that can
    reach `directory` through all its parents.
    """
    if os.geteuid() != 0:
        return None
    if wanted:
        account = _by_name(wanted)
        if account is None or account.uid == 0:
            raise EmbeddedError(f"ULAK_POSTGRES_USER={wanted} is no unprivileged account of this system.")
        return _that_reaches(account, directory)
    if owner_of.exists() and (uid := owner_of.stat().st_uid) != 0:
        return _that_reaches(_by_uid(uid), directory)
    usable = list(_existing())
    for account in usable:
        if barrier(directory, account) is None:
            return account
    if not usable:
        raise EmbeddedError("Running as root, and no unprivileged account exists to run PostgreSQL under.")
    return _that_reaches(usable[0], directory)


def barrier(path: Path, account: Account) -> Path | None:
    """The first existing directory on the way to (and including) `path` that `account` may not enter; None: it may."""
    for step in [*reversed(path.parents), path]:
        if not step.exists():
            return None
        if step.is_dir() and not _may_enter(step.stat(), account):
            return step
    return None


def _that_reaches(account: Account, directory: Path) -> Account:
    wall = barrier(directory, account)
    if wall is None:
        return account
    raise EmbeddedError(
        f"Running as root, PostgreSQL has to run as '{account.name}', which may not enter {wall}.",
        "Choose a data directory outside of it (for example ULAK_DATA_DIR=/var/lib/ulak), or run Ulak as a plain user."
        " Ulak does not loosen permissions.",
    )


def _may_enter(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _existing() -> Iterator[Account]:
    for name in CANDIDATES:
        account = _by_name(name)
        if account is not None and account.uid != 0:
            yield account


def _by_name(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _by_uid(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"The data directory belongs to user id {uid}, which has no name on this system.",
            "Give the data directory to an existing unprivileged account, or name one in ULAK_POSTGRES_USER.",
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
