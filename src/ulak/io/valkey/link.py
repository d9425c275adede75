"""How does one part of the bus reach Valkey?

Each part has a client of its own and is its only user: a command is never cancelled half-way by a caller,
so that no reply can reach another one (CVE-2023-28858 in this client was that).
"""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

ERRORS = (RedisError, OSError)
"""What a command raises when Valkey is away, restarts, or refuses."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long, in seconds.

    ``beat``: between two beats; ``deaf``: until a silent bus counts as down; ``pause``: after an error;
    ``lease``, ``entry``: life of a node's lease and of a place's entry; ``walk``: to renew every entry once;
    ``gather``: before places are entered, so that a storm of connections is a few commands. What is said of a user
    meanwhile is found by comparing his revision afterwards.
    """

    beat: float = 1.0
    deaf: float = 3.0
    pause: float = 0.5
    lease: int = 6
    entry: int = 7_200
    walk: float = 1_800.0
    gather: float = 0.005


def open_client(url: str, patience: float) -> Redis:
    """A client that tells at once what goes wrong: retries of its own would hide for seconds that nothing arrives."""
    return Redis.from_url(url, socket_timeout=patience, socket_connect_timeout=patience, retry=Retry(NoBackoff(), 0))


def is_url(url: str) -> bool:
    """Whether the client understands the URL; asks nobody."""
    try:
        parse_url(url)
    except ValueError:
        return False
    return True


def channel(boot: int) -> str:
    """Where a node listens."""
    return f"ulak:node:{boot}"


EVERYBODY = "ulak:all"
"""Where all nodes listen."""
