"""Which armed fault goes off now: the first that fits, if it is its turn?

All of the sandbox's faults count alike, whatever they do: ``skip`` leaves the first chances alone, ``times`` bounds how
often one goes off, ``every`` lets only each so-many-th chance count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Generic, Protocol, TypeVar

import msgspec


class Turns(Protocol):
    """What a fault says of its turns; ``times`` None is for ever."""

    @property
    def skip(self) -> int:
        """Chances that are left alone first."""

    @property
    def times(self) -> int | None:
        """How often it goes off at most."""

    @property
    def every(self) -> int:
        """Which chances count after that: each so-many-th."""


F = TypeVar("F", bound=Turns)


@dataclass(slots=True)
class _One(Generic[F]):
    fault: F
    chances: int = 0
    fired: int = 0

    def spent(self) -> bool:
        return self.fault.times is not None and self.fired >= self.fault.times

    def turn(self) -> bool:
        """Count a chance; whether it is the fault's turn."""
        self.chances += 1
        past = self.chances - self.fault.skip
        if past < 1 or past % self.fault.every:
            return False
        self.fired += 1
        return True


class Armed(Generic[F]):
    """The armed faults, in order."""

    def __init__(self) -> None:
        self._all: list[_One[F]] = []

    def arm(self, faults: Iterable[F]) -> None:
        """Add faults behind those already armed."""
        self._all += [_One(fault) for fault in faults]

    def clear(self) -> None:
        """Disarm everything."""
        self._all.clear()

    def report(self) -> list[dict[str, Any]]:
        """Each fault with its ``chances`` and how often it ``fired``."""
        return [{**msgspec.to_builtins(one.fault), "chances": one.chances, "fired": one.fired} for one in self._all]

    def first(self, fits: Callable[[F], bool]) -> F | None:
        """The fault that goes off now, if any; one that fits has had a chance."""
        return next((one.fault for one in self._all if not one.spent() and fits(one.fault) and one.turn()), None)


def meant(pattern: str | None, names: Sequence[str]) -> bool:
    """Whether one of the names fits a fault's ``to`` (``*`` and ``?``, case ignored); None fits all."""
    return pattern is None or any(fnmatchcase(name.lower(), pattern.lower()) for name in names)


def decoded(body: bytes, kind: type[F]) -> list[F]:
    """Faults from JSON: one object or a list of them; raises ``ValueError`` naming the key."""
    try:
        given = msgspec.json.decode(body)
        return [msgspec.convert(each, kind) for each in (given if isinstance(given, list) else [given])]
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from None
