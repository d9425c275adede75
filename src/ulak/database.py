"""Which PostgreSQL does a command work on: the operator's, a running embedded one, or one to be started?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ulak.io.embedded import postgres
from ulak.io.embedded.errors import EmbeddedError
from ulak.settings import Settings


@dataclass(slots=True)
class Database:
    """A URL, and the server if this process runs it (``owned``)."""

    url: str
    owned: postgres.RunningPostgres | None = None

    def stop(self) -> None:
        """Stop the server if it is ours."""
        if self.owned is not None:
            self.owned.stop()


def find(settings: Settings, progress: Callable[[str], None] | None = None) -> Database:
    """Use what is set, else join the embedded server of the data directory, else start it.

    Call it from the main thread, before asyncio: the server's life hangs on the thread that forks it.
    Raises ``EmbeddedError`` with what to do.
    """
    if settings.database_url:
        return Database(settings.database_url)
    running = postgres.connect_url(settings.data_path)
    if running is not None:
        return Database(running)
    server = postgres.start(settings.data_path, progress=progress)
    return Database(server.url, server)


__all__ = ["Database", "EmbeddedError", "find"]
