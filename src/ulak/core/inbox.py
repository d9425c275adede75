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

import msgspec

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


class News(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a commit did to one inbox: it reached ``revision``.

    ``item`` is the JSON (``full_text``) of the one item whose revision that is, when the commit added exactly one;
    ``unread`` and ``unseen`` are the counts after it (-1: not known), ``epoch`` is the history that it belongs to. News
    may be lost, doubled or late: a gap is seen by the revision, another history by the epoch.
    """

    tenant: int
    user: str
    revision: int
    item: str | None = None
    unread: int = -1
    unseen: int = -1
    epoch: str = ""


def must_restart(page: Page, since: int | None, epoch: str | None) -> bool:
    """Whether a client with this offset needs a full sync: it holds what may not be true any more."""
    return since is None or epoch != page.epoch or since > page.top or 0 < since < page.oldest


def full_text(item: Item) -> str:
    """The item as JSON with its content; a removed one as a tombstone."""
    if item.removed:
        return state_text(item)
    origin = origin_text(item.type, item.notification, item.created_at)
    return _whole(item.id, item.revision, f"{origin},{_times(item)}", item.content)


def origin_text(type: str, notification: UUID, created_at: datetime) -> str:  # noqa: A002  # the field's name
    """The part of an item's JSON that it shares with all items of its notification and moment."""
    return (
        f'"type":{json.dumps(type)},"notification":"{external("ntf", notification)}","created_at":{_time(created_at)}'
    )


def new_text(item: UUID, revision: int, origin: str, content: str) -> str:
    """``full_text`` of an item that has just come, from its ``origin_text``; made for each of many."""
    return _whole(item, revision, f'{origin},"seen_at":null,"read_at":null,"archived_at":null', content)


def state_text(item: Item) -> str:
    """What changed about an item that the client holds already."""
    head = f'{{"id":"{external("dlv", item.id)}","revision":{item.revision},'
    return head + ('"removed":true}' if item.removed else f"{_times(item)}}}")


def join(texts: Iterable[str]) -> str:
    """A JSON array of texts that are JSON already."""
    return f"[{','.join(texts)}]"


def _whole(item: UUID, revision: int, inner: str, content: str) -> str:
    members = content.strip()[1:-1].strip()
    return f'{{"id":"dlv_{item.hex}","revision":{revision},{inner}{"," if members else ""}{members}}}'


def _times(item: Item) -> str:
    return f'"seen_at":{_time(item.seen_at)},"read_at":{_time(item.read_at)},"archived_at":{_time(item.archived_at)}'


def _time(moment: datetime | None) -> str:
    if moment is None:
        return "null"
    return f'"{moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")}Z"'
