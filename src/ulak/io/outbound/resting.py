"""Which push services are left alone for a while?

One account pushes to the services of all browsers. When one of them is down, its calls would take all slots of the
account, each until its time-out, and everybody else's browser would wait. So each service that an account calls has a
breaker (``core/breaker``) of its own: while it rests, calls to it end at once, and are tried again later as after any
failure. Names may be made up by users, so only those called last are remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ulak.core.breaker import Breaker, State
from ulak.providers.contract import HttpReply, Lost, Refused

MOST = 1_024
"""Services that are remembered."""

_DOWN = frozenset({500, 502, 503, 504})


class Resting:
    """The services of one account, by origin; ``clock`` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[str, Breaker] = OrderedDict()

    def allows(self, origin: str) -> bool:
        """Whether it may be called now; what becomes of the call is to be ``told``."""
        breaker = self._known.get(origin)
        return breaker is None or breaker.allows(1, self._clock()) > 0

    def told(self, origin: str, reply: HttpReply | Lost | Refused | None, began: float) -> None:
        """What became of a call that began then; None where nobody waited for its end."""
        now, down = self._clock(), _down(reply)
        breaker = self._known.get(origin)
        if breaker is None:
            breaker = self._known[origin] = Breaker()
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(origin)
        if down is None:
            breaker.undecided(began)
        elif down:
            breaker.failed(1, now, began)
        else:
            breaker.succeeded(1, now, began)

    def rests(self) -> list[str]:
        """Those that are left alone now."""
        return [origin for origin, breaker in self._known.items() if breaker.state is not State.CLOSED]


def _down(reply: HttpReply | Lost | Refused | None) -> bool | None:
    """Whether it shows a service that is down; None when it shows nothing."""
    if isinstance(reply, HttpReply):
        return reply.status in _DOWN
    return True if isinstance(reply, Lost) else None
