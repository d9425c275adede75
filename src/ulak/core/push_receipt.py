"""What does an app say of a push that it got, and what does that change?

What it says proves that the push arrived, which the services tell nobody. Unlike the links in mail, which programs
open, a push is tapped or swiped away by a person; so that stops later steps of the route:

==============  =====================  ===================================================================
``shown``       ``delivered``          the app got it and had it displayed
``dismissed``   ``seen``               somebody put it away, as when an item of the inbox is archived
``opened``      ``clicked``, ``read``  somebody tapped it
==============  =====================  ===================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from ulak.core.model import IMPLIES, Mark
from ulak.core.states import Event, Folded, Happened, step


class Said(StrEnum):
    """What an app can say, in its own words."""

    SHOWN = "shown"
    OPENED = "opened"
    DISMISSED = "dismissed"


EVENTS: Mapping[Said, Event] = {
    Said.SHOWN: Event.DELIVERED,
    Said.OPENED: Event.CLICKED,
    Said.DISMISSED: Event.SEEN,
}
"""What each is for a delivery."""

MARKS: Mapping[Said, Mark] = {
    Said.SHOWN: IMPLIES[Mark.DELIVERED],
    Said.OPENED: IMPLIES[Mark.CLICKED],
    Said.DISMISSED: IMPLIES[Mark.SEEN],
}
"""What later steps are told."""


def moment(told: datetime | None, planned: datetime, now: datetime) -> datetime:
    """When it happened: what the app's clock says, but neither before the push was planned nor later than now."""
    return now if told is None else max(planned, min(told, now))


def after(folded: Folded, said: Iterable[tuple[Said, datetime]]) -> Folded:
    """A delivery after what an app said, with the times; the order does not matter."""
    for each, at in said:
        folded = step(folded, Happened(EVENTS[each], at))
    return folded
