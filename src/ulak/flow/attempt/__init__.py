"""Attempt: how is ready work sent, no more of it than there are free slots, and what follows from each answer?

For every account a worker claims rows of each lane, inserts their attempt rows (the last check), calls
the provider, and hands the outcomes to one finisher that writes them in batches. Timers bring back what
waits; the reaper takes over from nodes that died.
"""

from ulak.flow.attempt.breakers import Breakers
from ulak.flow.attempt.deaths import Deaths
from ulak.flow.attempt.finisher import Finisher
from ulak.flow.attempt.keeper import Keeper
from ulak.flow.attempt.model import Lineup, OpenPermits, Permits, Route, Sender, Settings
from ulak.flow.attempt.scoring import Scoring
from ulak.flow.attempt.worker import Worker

__all__ = [
    "Breakers",
    "Deaths",
    "Finisher",
    "Keeper",
    "Lineup",
    "OpenPermits",
    "Permits",
    "Route",
    "Scoring",
    "Sender",
    "Settings",
    "Worker",
]
