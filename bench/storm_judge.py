"""Did every user see each of his notifications exactly once, with no hole in the revisions?

Pure. From outside: what was accepted (answered with 202) for whom, and what each user's sockets said over all their
connections. The chain of revisions is judged as the demo does it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ulak.cli.demonstration.evidence import SocketLog
from ulak.cli.demonstration.judge import revisions


@dataclass(frozen=True, slots=True)
class Seen:
    """One user's evidence: his log, and the items he holds (id of the item → notification)."""

    log: SocketLog
    items: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What does not add up. ``repeated`` is how often an item came again to a client that held it: replaced by its id,
    so never visible, and no fault."""

    accepted: int
    lost: tuple[str, ...]
    twice: tuple[str, ...]
    wrong: tuple[str, ...]
    repeated: int

    @property
    def passed(self) -> bool:
        """Whether everything is accounted for."""
        return not (self.lost or self.twice or self.wrong)

    def plain(self) -> dict[str, int]:
        """Its counts."""
        return {
            "accepted": self.accepted,
            "lost": len(self.lost),
            "visible_twice": len(self.twice),
            "holes": len(self.wrong),
            "repeated_and_replaced": self.repeated,
        }

    def words(self, most: int = 5) -> str:
        """The first faults of each kind."""
        return "\n".join([*self.lost[:most], *self.twice[:most], *self.wrong[:most]])


def judge(accepted: Mapping[str, Sequence[str]], seen: Mapping[str, Seen]) -> Verdict:
    """Weigh a run: the notifications that each user was to get, and what he saw."""
    lost: list[str] = []
    twice: list[str] = []
    wrong: list[str] = []
    repeated = 0
    for user, evidence in seen.items():
        told = Counter(accepted.get(user, ()))
        held = Counter(evidence.items.values())
        lost += [f"{user} never saw {number}" for number in told if number not in held]
        twice += [f"{user} sees {number} {times} times" for number, times in held.items() if times > 1]
        wrong += [f"{user} sees {number}, which nobody was told of" for number in held if number not in told]
        wrong += [f"{user}: {fault.why}" for fault in revisions(evidence.log)]
        came = Counter(item for frame in evidence.log.frames for item in dict(frame.items))
        repeated += sum(times - 1 for times in came.values())
    lost += [
        f"{user} had no socket, and {len(told)} notifications" for user, told in accepted.items() if user not in seen
    ]
    return Verdict(sum(map(len, accepted.values())), tuple(lost), tuple(twice), tuple(wrong), repeated)
