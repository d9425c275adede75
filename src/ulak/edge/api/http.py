"""How are HTTP requests read from ASGI, within limits, and answers written?

Plain ASGI 3, no framework: a body is read up to a cap and within a deadline, so that neither a huge nor
a dripping sender holds anything; answers carry headers that keep browsers from guessing and caching.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ulak.core.invalid import Invalid
from ulak.edge import body
from ulak.edge.api.problem import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

MAX_BODY = 1 << 20
"""Bytes of a request's body."""

STRANGERS_BODY = 65_536
"""The same where nobody has shown who he is before it is read."""

JSON = b"application/json"
PROBLEM = b"application/problem+json"

SECURITY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""On every answer; a page that shows something brings its own policy."""

encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Response:
    """One answer; ``headers`` come on top of the usual ones."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()
    security: tuple[Header, ...] = field(default=SECURITY)


def answer(value: Any, status: int = 200, headers: tuple[Header, ...] = ()) -> Response:
    """A JSON answer."""
    return Response(status, encode(value), JSON, headers)


def problem_response(problem: Problem, headers: tuple[Header, ...] = ()) -> Response:
    """An error."""
    return Response(problem.status, encode(problem), PROBLEM, headers)


async def send_response(send: Send, response: Response, *, whole: bool = True) -> None:
    """Write an answer; without its body for HEAD. Statuses without a body have no type either."""
    headers = [*response.security, *response.headers]
    if response.status not in (204, 304):
        headers.append((b"content-type", response.content_type))
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body if whole else b""})


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], deadline: float, most: int = MAX_BODY) -> bytes:
    """Read a body of at most ``most`` bytes within ``deadline`` seconds.

    Raises ``Invalid`` (413, 408) or ``HungUp``.
    """
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:12]) > most:
        raise _too_large(most)
    try:
        return await body.read(receive, most, deadline)
    except body.Unread as error:
        if error.status == 413:
            raise _too_large(most) from None
        raise Invalid(408, "body_too_slow", "body", f"not complete after {deadline:g} s") from None


def _too_large(most: int) -> Invalid:
    return Invalid(413, "body_too_large", "body", f"more than {most} bytes", "split it, or use the batch call")


def check_type(headers: Mapping[bytes, bytes], raw: str | None = None) -> None:
    """Refuse a body that says it is not JSON in UTF-8, or that is not ``raw`` where this is asked for (415)."""
    given = headers.get(b"content-type")
    if raw is not None:
        media, _, parameters = (given or b"").partition(b";")
        if media.strip().lower() != raw.encode() or b"utf-16" in parameters.lower():
            raise Invalid(415, "not_csv", "Content-Type", f"the body must be {raw}", f"send Content-Type: {raw}")
        given = None
    if given is not None and given != JSON:
        media, _, parameters = given.partition(b";")
        charset = parameters.strip().lower().replace(b'"', b"")
        if media.strip().lower() != JSON or charset not in (b"", b"charset=utf-8", b"charset=utf8"):
            raise Invalid(
                415, "not_json", "Content-Type", "the body must be JSON", "send Content-Type: application/json"
            )
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Invalid(415, "encoded_body", "Content-Encoding", "compressed bodies are not taken", "send it as it is")
