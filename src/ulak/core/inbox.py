"""What is in a user's inbox, as it is handed to his devices?

Every change takes the user's next revision and leaves it on the item, so that "what changed since N" is
one range of revisions. An item's ``born`` is the revision at which it came; a removed item stays as a
tombstone until it is purged, which raises ``oldest``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from ulak.core.ids import external


class Op(StrEnum):
    """What a user can do with items. Each includes those before it in effect, except that archiving reads nothing."""

    SEEN = "seen"
    READ = "read"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Item:
    """One inbox item. ``content`` is the text of a JSON object: title, body, url, icon."""

    id: UUID
    revision: int
    born: int
    notification: UUID
    type: str
    content: str
    created_at: datetime
    seen_at: datetime | None = None
    read_at: datetime | None = None
    archived_at: datetime | None = None
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What changed in one inbox after the revision ``since``, in order of revision, read in one snapshot.

    ``top`` is the newest revision; with ``more`` the page ends at its last item, else it reaches the top.
    A client below ``oldest`` may have missed tombstones.
    """

    since: int
    top: int
    oldest: int
    unread: int
    unseen: int
    epoch: str
    items: tuple[Item, ...]
    more: bool

    @property
    def reaches(self) -> int:
        """The revision up to which the page is complete."""
        return self.items[-1].revision if self.more and self.items else self.top


def must_restart(page: Page, since: int | None, epoch: str | None) -> bool:
    """Whether a client with this offset needs a full sync: it holds what may not be true any more."""
    return since is None or epoch != page.epoch or since > page.top or 0 < since < page.oldest


def full_text(item: Item) -> str:
    """The item as JSON with its content; a removed one as a tombstone."""
    if item.removed:
        return state_text(item)
    content = item.content.strip()[1:-1].strip()
    head = (
        f'{{"id":"{external("dlv", item.id)}","revision":{item.revision},"type":{json.dumps(item.type)},'
        f'"notification":"{external("ntf", item.notification)}","created_at":{_time(item.created_at)},'
    )
    return f"{head}{_times(item)}{',' if content else ''}{content}}}"


def state_text(item: Item) -> str:
    """What changed about an item that the client holds already."""
    head = f'{{"id":"{external("dlv", item.id)}","revision":{item.revision},'
    return head + ('"removed":true}' if item.removed else f"{_times(item)}}}")


def join(texts: Iterable[str]) -> str:
    """A JSON array of texts that are JSON already."""
    return f"[{','.join(texts)}]"


def _times(item: Item) -> str:
    return f'"seen_at":{_time(item.seen_at)},"read_at":{_time(item.read_at)},"archived_at":{_time(item.archived_at)}'


def _time(moment: datetime | None) -> str:
    if moment is None:
        return "null"
    return f'"{moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")}Z"'
