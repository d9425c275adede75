"""What does a session want done? Its shell carries these out, in order, and reports back (see ``session``)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ulak.core.inbox import Op
from ulak.core.session_commands import Close, Command, MarkItems


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send this JSON object; the shell may join several into an array."""

    text: str


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Find out whose token or ``ticket`` this is, then call ``authenticated`` or ``refused``."""

    token: str
    device: str | None
    ticket: bool = False
    meta: str | None = None


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read the user's inbox after this revision, then call ``page``."""

    since: int


class Acked(msgspec.Struct, frozen=True, gc=False):
    """The client holds what was sent with revisions in (``after``, ``upto``]; then call ``answered``."""

    after: int
    upto: int
    active: bool
    command: Command


@dataclass(frozen=True, slots=True)
class Mark:
    """Write what the user did: for these items, or all that came up to a revision; then call ``answered``."""

    op: Op
    command: MarkItems


@dataclass(frozen=True, slots=True)
class Refresh:
    """Check a new token of the same user, then call ``refreshed`` or ``answered`` with a code."""

    token: str
    command: Command


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Find out whether the user may listen to all of these topics, then call ``answered``."""

    topics: tuple[str, ...]
    command: Command


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """He no longer wants these; then call ``answered``."""

    topics: tuple[str, ...]
    command: Command


Action = Send | Close | Authenticate | Fetch | Acked | Mark | Refresh | Subscribe | Unsubscribe
