"""How does a test, a demo or a person at a browser read what was received, and arm faults?

Answers only under a loopback name, and changes something only for a JSON request, so that no web page that a
developer happens to visit can reach it through the browser.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import parse_qs

import msgspec

from ulak.sandbox import control, faults, page, pushed
from ulak.sandbox.faults import FaultBook
from ulak.sandbox.mail import Mail, parse
from ulak.sandbox.push import control as push_control
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.pushed import Pushed
from ulak.sandbox.record import Received, Record
from ulak.sandbox.vendors import Vendors

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 1024 * 1024
MAX_PAGE = 1_000
ON_PAGE = 100

_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?\Z")
_MESSAGE = re.compile(r"/messages/(\d{1,15})(?:/(raw|html|view))?\Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes
    kind: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


class App:
    """The ASGI application over one record, one book of faults, the vendors and the push services."""

    def __init__(self, record: Record, book: FaultBook, vendors: Vendors, push: PushServices) -> None:
        self._record = record
        self._book = book
        self._vendors = vendors
        self._push = push

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        headers = [
            (b"content-type", answer.kind.encode("ascii")),
            (b"content-length", str(len(answer.body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if _HOST.match(headers.get(b"host", "")) is None:
            return problem(403, "forbidden_host", "ask under a loopback name")
        method, target = scope["method"], scope["path"]
        if method == "POST" and headers.get(b"content-type", "").partition(";")[0] != "application/json":
            return problem(415, "not_json", "send Content-Type: application/json")
        try:
            if target.startswith("/vendors/"):
                body = await read_body(receive) if method == "POST" else b""
                return _told(await control.answer(self._vendors, method, target.removeprefix("/vendors/"), body))
            if target.startswith("/push/"):
                body = await read_body(receive) if method == "POST" else b""
                return _told(await push_control.answer(self._push, method, target.removeprefix("/push/"), body))
            if method == "GET":
                if target == "/devices":
                    return html(page.devices(self._push.devices.all(), headers[b"host"]), page.PAGE_POLICY)
                return self._get(target, parse_qs(scope["query_string"].decode("latin-1")))
            if method == "POST" and target == "/faults":
                return self._arm(await read_body(receive))
            if method == "DELETE" and target in {"/faults", "/messages"}:
                (self._book if target == "/faults" else self._record).clear()
                return Answer(204, b"")
        except (ValueError, RecursionError) as error:
            return problem(400, "invalid", str(error))
        return problem(404, "not_found", "no such address")

    def _get(self, target: str, query: dict[str, list[str]]) -> Answer:
        if target == "/":
            newest = ((received, read(received)) for received in self._record.latest(ON_PAGE))
            return html(page.listing(newest, self._record.total), page.PAGE_POLICY)
        if target == "/healthz":
            return ok({"status": "ok"})
        if target == "/messages/count":
            return ok({"total": self._record.total, "kept": len(self._record)})
        if target == "/messages":
            return self._list(query)
        if target == "/faults":
            return ok({"items": self._book.report()})
        match = _MESSAGE.match(target)
        received = self._record.get(int(match[1])) if match else None
        if match is None or received is None:
            return problem(404, "not_found", "no such address or message")
        return _message(received, match[2])

    def _list(self, query: dict[str, list[str]]) -> Answer:
        since, limit = whole(query, "since", 0), min(whole(query, "limit", 100), MAX_PAGE)
        to = query.get("to", [""])[0].lower()
        found: Iterable[Received] = self._record.after(since, limit if not to else len(self._record))
        if to:
            found = islice((one for one in found if to in {each.lower() for each in one.recipients}), limit)
        brief = query.get("view", [""])[0] == "envelope"
        items = [envelope(received) if brief else full(received) for received in found]
        return ok({"items": items, "next": items[-1]["id"] if items else since, "total": self._record.total})

    def _arm(self, body: bytes) -> Answer:
        self._book.arm(faults.decode(msgspec.json.decode(body)))
        return ok({"items": self._book.report()})


def _told(value: object | None) -> Answer:
    """What the control of the vendors says; None means that there is no such call."""
    if value is None:
        return problem(404, "not_found", "no such address")
    return ok(value)


def read(received: Received) -> Mail | Pushed:
    """What a message says."""
    return pushed.parse(received.raw) if received.channel == "push" else parse(received.raw)


def envelope(received: Received) -> dict[str, Any]:
    """What is known of a message without parsing it."""
    return {
        "id": received.id,
        "at": received.at,
        "channel": received.channel,
        "connection": received.connection,
        "seq": received.seq,
        "from": received.sender,
        "to": received.recipients,
        "size": len(received.raw),
        "answered": received.answered,
        "raw": f"/messages/{received.id}/raw",
    }


def full(received: Received) -> dict[str, Any]:
    """A message with what it says; of a push all that the service knows of it is under ``push``."""
    mail = read(received)
    if isinstance(mail, Pushed):
        said = {"subject": mail.title, "headers": tuple(mail.headers.items()), "text": mail.body, "html": None}
        return {**envelope(received), **said, "defects": (), "push": mail}
    said = {"subject": mail.subject, "headers": mail.headers, "text": mail.text, "html": mail.html}
    return {**envelope(received), **said, "defects": mail.defects}


def _message(received: Received, view: str | None) -> Answer:
    if view == "raw":
        return Answer(200, received.raw, "text/plain; charset=utf-8", (policy(page.MAIL_POLICY),))
    mail = read(received)
    if view == "html":
        return html("" if isinstance(mail, Pushed) else mail.html or "", page.MAIL_POLICY)
    if view == "view":
        text = page.push(received, mail) if isinstance(mail, Pushed) else page.single(received, mail)
        return html(text, page.PAGE_POLICY)
    return ok(full(received))


def policy(text: str) -> tuple[bytes, bytes]:
    """The Content-Security-Policy header."""
    return b"content-security-policy", text.encode("ascii")


def html(text: str, rights: str) -> Answer:
    """A page with its policy."""
    return Answer(200, text.encode("utf-8", "replace"), "text/html; charset=utf-8", (policy(rights),))


def ok(value: object) -> Answer:
    """A JSON answer."""
    return Answer(200, msgspec.json.encode(value))


def problem(status: int, code: str, detail: str) -> Answer:
    """An error as RFC 9457 has it."""
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    return Answer(status, msgspec.json.encode(body), "application/problem+json")


def whole(query: dict[str, list[str]], key: str, default: int) -> int:
    """A whole number of the query; raises ``ValueError`` naming the key."""
    text = query.get(key, [str(default)])[0]
    if re.fullmatch("[0-9]{1,15}", text) is None:
        raise ValueError(f"{key}: must be a whole number")
    return int(text)


async def read_body(receive: Receive) -> bytes:
    """The request's body; raises ``ValueError`` beyond a megabyte."""
    body = bytearray()
    while True:
        event = await receive()
        body += event.get("body", b"")
        if len(body) > MAX_BODY:
            raise ValueError("the body is larger than a megabyte")
        if not event.get("more_body"):
            return bytes(body)
