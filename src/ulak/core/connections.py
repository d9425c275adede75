"""What is told of an open connection, and what can one node ask another about those that it holds?

A connection's id names the start of the node that holds it, so that a question about one connection goes to
one node. A question is always of one tenant: what another tenant holds is neither counted nor shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

_CONNECTION = re.compile(r"con_([0-9a-f]{8})[0-9a-f]{16}\Z")


class Described(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One open connection. Times are Unix seconds; ``seen`` is when its last ping was answered (or it came).

    ``topics`` are those that it listens to, ``meta`` the JSON object that it gave itself in ``hello``.
    """

    id: str
    user: str
    transport: str
    connected_at: float
    seen: float
    active: bool = False
    device: str | None = None
    user_agent: str | None = None
    address: str | None = None
    topics: tuple[str, ...] = ()
    meta: str | None = None
    expires_at: float | None = None


class Question(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Which connections of a tenant: all, a user's, or the one of this id; at most ``limit`` are described.

    With ``close`` they are closed as well, and only counted.
    """

    tenant: int
    user: str | None = None
    connection: str | None = None
    limit: int = 0
    close: bool = False


class Reply(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What one node holds of it: how many in all, and the first few."""

    total: int = 0
    found: tuple[Described, ...] = ()


class Answers(msgspec.Struct, frozen=True, gc=False):
    """What all nodes together hold; unless ``complete``, a node did not answer in time or could not be asked."""

    total: int
    found: tuple[Described, ...]
    complete: bool


def merge(replies: Iterable[Reply], limit: int, *, complete: bool) -> Answers:
    """Put the replies of several nodes together, the newest connections first, at most ``limit``."""
    known = list(replies)
    found = sorted((one for reply in known for one in reply.found), key=lambda d: (-d.connected_at, d.id))
    return Answers(sum(reply.total for reply in known), tuple(found[:limit]), complete)


def connection_id(boot: int, entropy: bytes) -> str:
    """Make the id of a connection from the boot number of its node and 8 random bytes."""
    return f"con_{boot & 0xFFFFFFFF:08x}{entropy.hex()}"


def boot_of(connection: str) -> int | None:
    """The boot number of the node that holds this connection; None if the text is no such id."""
    match = _CONNECTION.match(connection)
    return int(match[1], 16) if match else None
