"""Does a Valkey answer?"""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import RedisError


async def ping(url: str, timeout: float = 3.0) -> str | None:
    """Ask it; None when it answers, else what went wrong, without the URL (it may hold a password)."""
    try:
        async with Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout) as client:
            await client.ping()
    except (RedisError, OSError, ValueError) as error:
        return type(error).__name__
    return None
