"""Who waits for which answers of other nodes, and when are they all there?

A question is asked, then it becomes known which nodes are expected to answer; answers may come before that.
An answer that nobody waits for is counted and dropped: it can't reach another caller, as no number is used
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from ulak.core.connections import Question, Reply


class Asked:
    """One question under way."""

    def __init__(self, number: int, question: Question) -> None:
        self.number = number
        self.question = question
        self._replies: dict[int, Reply] = {}
        self._expected: Collection[int] | None = None
        self._at_least = 0
        self._ended = asyncio.get_running_loop().create_future()

    @property
    def replies(self) -> Mapping[int, Reply]:
        """What has come, by boot number."""
        return self._replies

    @property
    def complete(self) -> bool:
        """Whether everybody has answered who was expected to."""
        return (
            self._expected is not None
            and len(self._replies) >= self._at_least
            and all(boot in self._replies for boot in self._expected)
        )

    def expect(self, boots: Collection[int], at_least: int = 0) -> None:
        """These nodes are to answer, and so many in all."""
        self._expected, self._at_least = boots, at_least
        self._look()

    def take(self, by: int, reply: Reply) -> None:
        """A node answers."""
        self._replies[by] = reply
        self._look()

    def give_up(self) -> None:
        """It could not be asked."""
        self._end()

    async def wait(self, seconds: float) -> None:
        """Return when all have answered, it could not be asked, or time is up."""
        await asyncio.wait({self._ended}, timeout=seconds)

    def _look(self) -> None:
        if self.complete:
            self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


class Asking:
    """All questions of one node that are under way."""

    def __init__(self) -> None:
        self._number = 0
        self._open: dict[int, Asked] = {}
        self.late = 0

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, question: Question) -> Asked:
        """Take a question."""
        self._number += 1
        asked = self._open[self._number] = Asked(self._number, question)
        return asked

    def end(self, asked: Asked) -> None:
        """Nobody waits for it any more."""
        self._open.pop(asked.number, None)

    def take(self, number: int, by: int, reply: Reply) -> None:
        """An answer has come."""
        asked = self._open.get(number)
        if asked is None:
            self.late += 1
        else:
            asked.take(by, reply)
