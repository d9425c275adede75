"""How do the fake vendors post what became of a message, as often and in whatever order somebody asks for?

A callback is set by a JSON object: ``vendor``, ``url`` (loopback only), and as the vendor has it ``username`` and
``password`` or ``header`` and ``secret``; for ``ses`` also ``signature_version`` (``1`` or ``2``) and ``subscribe``,
which begins with a request to confirm the subscription. ``times`` posts each event so often; with ``hold`` events wait
for a flush, which may post them ``reversed`` or ``shuffled``, several times, and for SendGrid in arrays of ``batch``.
A post that isn't answered with 2xx is tried again, as vendors do.
"""

from __future__ import annotations

import asyncio
import random
from base64 import b64encode
from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Annotated, Literal
from uuid import uuid4

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from ulak.io.outbound.http import HttpClient
from ulak.providers.contract import HttpReply, HttpRequest
from ulak.sandbox import magic
from ulak.sandbox.credentials import PASSWORD, USER
from ulak.sandbox.magic import Event
from ulak.sandbox.parcel import Parcel
from ulak.sandbox.vendor_events import Happened, Post, Sns, postmark_post, sendgrid_post, ses_message

KEPT = 100_000
TRIES = 5
PATIENCE = 10.0
BACK_OFF = 0.1
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

Order = Literal["as_sent", "reversed", "shuffled"]


class Callback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and how one vendor posts its events."""

    vendor: Literal["ses", "sendgrid", "postmark"]
    url: Annotated[str, Meta(pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\]):\d{1,5}/[!-~]*$")]
    username: str = ""
    password: str = ""
    header: str = ""
    secret: str = ""
    signature_version: Literal["1", "2"] = "2"
    subscribe: bool = False
    times: Annotated[int, Meta(ge=1, le=100)] = 1
    hold: bool = False


class Flush(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How held events are posted."""

    order: Order = "as_sent"
    times: Annotated[int, Meta(ge=1, le=100)] = 1
    batch: Annotated[int, Meta(ge=1, le=1_000)] = 1
    seed: int = 0


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event that somebody asks for: ``message`` is the vendor's id."""

    message: str
    event: Event


class Callbacks:
    """Sends events from one task, so that they arrive in the order in which they are sent."""

    def __init__(self) -> None:
        self.base = ""
        self.sns = Sns()
        self.confirmed = 0
        self.accepted: OrderedDict[str, tuple[datetime, Parcel]] = OrderedDict()
        self._set: dict[str, Callback] = {}
        self._held: list[Happened] = []
        self._queue: asyncio.Queue[tuple[Callback, Sequence[Happened]]] = asyncio.Queue()
        self._posted: deque[dict[str, object]] = deque(maxlen=KEPT)
        self._client = HttpClient(_LOOPBACK, schemes=["http"])
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------- what happens

    def taken(self, parcel: Parcel) -> None:
        """A vendor took a message: remember it, and tell what its recipient's word says."""
        self.accepted[parcel.vendor_id] = (datetime.now(UTC), replace(parcel, parts=()))
        if len(self.accepted) > KEPT:
            self.accepted.popitem(last=False)
        for event in magic.events(parcel.word):
            self._tell(event, parcel)

    def wish(self, wish: Wish) -> None:
        """Tell one event of a message that was taken; raises ``ValueError`` for an unknown one."""
        found = self.accepted.get(wish.message)
        if found is None:
            raise ValueError("message: no vendor took one of that id")
        self._tell(wish.event, found[1])

    def flush(self, how: Flush) -> int:
        """Post what is held; returns how many events."""
        events = self._held * how.times
        if how.order == "reversed":
            events.reverse()
        elif how.order == "shuffled":
            random.Random(how.seed).shuffle(events)
        self._held = []
        for vendor, callback in self._set.items():
            mine = [one for one in events if one.parcel.vendor == vendor]
            size = how.batch if vendor == "sendgrid" else 1
            for at in range(0, len(mine), size):
                self._queue.put_nowait((callback, mine[at : at + size]))
        return len(events)

    def _tell(self, event: Event, parcel: Parcel) -> None:
        callback = self._set.get(parcel.vendor)
        if callback is None:
            return
        happened = Happened(str(uuid4()), event, parcel, datetime.now(UTC))
        if callback.hold:
            self._held.append(happened)
            return
        for _ in range(callback.times):
            self._queue.put_nowait((callback, [happened]))

    # ------------------------------------------------------------------------------------- settings

    def set(self, callback: Callback) -> None:
        """Post a vendor's events there from now on."""
        self._set[callback.vendor] = callback
        if callback.vendor == "ses" and callback.subscribe:
            self._queue.put_nowait((callback, ()))

    def clear(self) -> None:
        """Post nothing more; what waits is dropped."""
        self._set.clear()
        self._held.clear()
        while not self._queue.empty():
            self._queue.get_nowait()

    def report(self) -> dict[str, object]:
        """What is set, held and was posted."""
        public = [{"vendor": one.vendor, "url": one.url, "hold": one.hold} for one in self._set.values()]
        return {
            "items": public,
            "held": len(self._held),
            "waiting": self._queue.qsize(),
            "confirmed": self.confirmed,
            "posted": list(self._posted),
        }

    # ------------------------------------------------------------------------------------- sending

    def start(self) -> None:
        """Start the task that sends."""
        self._task = asyncio.create_task(self._forever())

    async def close(self) -> None:
        """Stop sending."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._client.aclose()

    async def _forever(self) -> None:
        while True:
            callback, happened = await self._queue.get()
            for attempt in range(1, TRIES + 1):
                status = await self._post(callback, happened)
                names = [str(one.event) for one in happened] or ["subscribe"]
                self._posted.append({"vendor": callback.vendor, "events": names, "status": status, "try": attempt})
                if 200 <= status < 300:
                    break
                await asyncio.sleep(BACK_OFF * 2**attempt)

    async def _post(self, callback: Callback, happened: Sequence[Happened]) -> int:
        """Post once and return the status; 0 when no answer came."""
        basic = _basic(callback)
        post = self._made(callback, happened)
        reply = await self._send(callback.url, post)
        if callback.vendor == "ses" and basic and isinstance(reply, HttpReply) and reply.status == 401:
            # SNS shows its password only to whoever asks for it.
            reply = await self._send(callback.url, Post([*post.headers, *basic], post.body))
        return reply.status if isinstance(reply, HttpReply) else 0

    def _made(self, callback: Callback, happened: Sequence[Happened]) -> Post:
        now = datetime.now(UTC)
        if callback.vendor == "sendgrid":
            return sendgrid_post(happened, now)
        if callback.vendor == "postmark":
            known = (
                callback
                if callback.username or callback.header
                else replace(callback, username=USER, password=PASSWORD)
            )
            header = [(known.header, known.secret)] if known.header else []
            return postmark_post(happened[0], [*_basic(known), *header])
        if happened:
            text = ses_message(happened[0])
            fields = {"Type": "Notification", "MessageId": happened[0].id, "Message": text, "Subject": "Sandbox"}
        else:
            token = uuid4().hex
            url = f"{self.base}/?Action=ConfirmSubscription&Token={token}"
            fields = {"Type": "SubscriptionConfirmation", "MessageId": str(uuid4()), "Token": token,
                      "Message": "Visit the SubscribeURL to confirm.", "SubscribeURL": url}  # fmt: skip
        return self.sns.post(fields, self.base, callback.signature_version, now)

    async def _send(self, url: str, post: Post) -> object:
        return await self._client.send(HttpRequest("POST", url, tuple(post.headers), post.body), PATIENCE)


def _basic(callback: Callback) -> list[tuple[str, str]]:
    if not callback.username:
        return []
    pair = f"{callback.username}:{callback.password}".encode()
    return [("Authorization", f"Basic {b64encode(pair).decode()}")]
