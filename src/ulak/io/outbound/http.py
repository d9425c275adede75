"""What came back from one HTTP request to an address that a user may have given?

The only HTTP client of the project (a test proves it). What it refuses to trust:

- the name: the address is judged in the socket factory, on every dial (``egress``), so that neither a
  literal, a libc spelling nor a resolver that changes its mind gets round it;
- the answer: no redirect is followed, no cookie kept, nothing is decompressed, lines and fields are
  capped, and of the body only the first ``body_cap`` bytes are read;
- the pace: one deadline covers resolving, connecting, TLS, sending and the whole body;
- the surroundings: no proxy and no credentials from environment variables or netrc.

Failures are values. ``Lost(NOT_SENT)``: nothing of the request left. ``Lost(SENT)``: a connection stood
and bytes may have left; the other side may have acted on them. ``Refused``: the guard would not dial.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from ulak.io.outbound.egress import Network, judge_dial
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Phase, Refused

SCHEMES = frozenset({"http", "https"})
BODY_CAP = 20_000
MAX_URL = 4_096
IDLE_SECONDS = 4.0
"""Idle connections are kept for less than the 5 s after which common servers hang up."""

OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Header fields that belong to the connection: a request that sets one is refused."""

SESSION_OPTIONS: Mapping[str, Any] = {
    "trust_env": False,
    "auto_decompress": False,
    "max_line_size": 8_190,
    "max_field_size": 8_190,
    "max_headers": 100,
    "raise_for_status": False,
    "requote_redirect_url": False,
}
REQUEST_OPTIONS: Mapping[str, Any] = {"allow_redirects": False}

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_FIELD = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")
_USERINFO = re.compile(r"[^/?#]*//[^/?#]*@")
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*\Z")
"""A path that RFC 3986 §3.3 allows as it stands."""
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")


class Forbidden(OSError):
    """The guard's refusal, raised where the socket would be made; ``reason`` is egress's word."""

    def __init__(self, reason: str) -> None:
        super().__init__(13, f"egress guard: {reason}")
        self.reason = reason


class _CutOff(Exception):
    """A connection died under a request; kept out of aiohttp's own retry of idempotent methods."""


@dataclass(slots=True)
class _Dial:
    """What happened on the way to one connection."""

    connected: bool = False
    tried: bool = False
    refusals: list[str] = field(default_factory=list)


_dial: ContextVar[_Dial] = ContextVar("ulak_dial")


class HttpClient:
    """Sends requests through the egress guard; one instance serves a whole process.

    ``allow_networks`` are the operator's exceptions to the deny list; ``schemes`` the URL schemes that
    may be used; ``body_cap`` bytes of an answer are kept; ``connections`` bounds open connections;
    ``resolver`` and ``tls`` replace the system's (a context that does not verify raises ``ValueError``).
    """

    def __init__(
        self,
        allow_networks: Iterable[Network] = (),
        *,
        schemes: Iterable[str] = SCHEMES,
        body_cap: int = BODY_CAP,
        connections: int = 256,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if tls is not None and not (tls.check_hostname and tls.verify_mode is ssl.CERT_REQUIRED):
            raise ValueError("the TLS context must verify certificates and host names")
        self._allow = tuple(allow_networks)
        self._schemes = frozenset(schemes)
        self._body_cap = body_cap
        self._connections = connections
        self._resolver = resolver
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost | Refused:
        """Send one request; the whole exchange, body included, may take ``deadline`` seconds.

        The body comes as it was sent (``content-encoding`` is left to the caller) and cut to the cap.
        Never raises for anything that the other side does.
        """
        flaw = unusable(request, self._schemes)
        if flaw is not None:
            return flaw
        dial = _Dial()
        token = _dial.set(dial)
        try:
            async with asyncio.timeout(deadline):
                return await self._exchange(request, dial)
        except FAILURES as error:
            return _failure(error, dial)
        finally:
            _dial.reset(token)

    async def _exchange(self, request: HttpRequest, dial: _Dial) -> HttpReply:
        headers = [(name, value) for name, value in request.headers if name.lower() != "accept-encoding"]
        async with self._open().request(
            request.method,
            _as_written(request.url),
            headers=[*headers, ("Accept-Encoding", "identity")],
            data=request.body or None,
            trace_request_ctx=dial,
            **REQUEST_OPTIONS,
        ) as response:
            body = await self._body(response)
            return HttpReply(response.status, _headers(response), body)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """Read up to the cap; what is left over costs the connection, not our memory."""
        kept = bytearray()
        while len(kept) < self._body_cap:
            chunk = await response.content.read(self._body_cap - len(kept))
            if not chunk:
                return bytes(kept)
            kept += chunk
        response.close()
        return bytes(kept)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                socket_factory=self._socket,
                resolver=self._resolver,
                ssl=self._tls or True,
                limit=self._connections,
                ttl_dns_cache=10,
                keepalive_timeout=IDLE_SECONDS,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                trace_configs=[_tracing()],
                middlewares=(_once,),
                headers={"User-Agent": "Ulak"},
                **SESSION_OPTIONS,
            )
        return self._session

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket for one dial, or refuse: ``info`` holds the very address that is dialled."""
        family, kind, protocol, _, address = info
        reason = judge_dial(address[0], address[1], self._allow)
        dial = _dial.get()
        if reason is not None:
            dial.refusals.append(reason)
            raise Forbidden(reason)
        dial.tried = True
        return socket.socket(family=family, type=kind, proto=protocol)


def unusable(request: HttpRequest, schemes: Iterable[str] = SCHEMES) -> Refused | None:
    """Say why a request can't be sent whatever its address is, or None. Pure; for registration, too."""
    if not _TOKEN.match(request.method):
        return Refused("method", "the method is no token")
    for name, value in request.headers:
        if not _TOKEN.match(name) or not _FIELD.match(value):
            return Refused("header", "a header field has characters that it must not have")
        if name.lower() in OWN_HEADERS:
            return Refused("header", f"{name.lower()} belongs to the connection")
    return _unusable_url(request.url, frozenset(schemes))


def _unusable_url(text: str, schemes: frozenset[str]) -> Refused | None:
    if len(text) > MAX_URL or _UNPRINTABLE.search(text):
        return Refused("url", "too long, or with a space, control character or backslash")
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        return Refused("url", "not a URL")
    if url.scheme not in schemes:
        return Refused("scheme", f"only {', '.join(sorted(schemes))}")
    if _USERINFO.match(text):
        return Refused("userinfo", "credentials do not belong into a URL")
    if not url.raw_host or port is None:
        return Refused("url", "no host")
    return None


def _as_written(text: str) -> URL:
    """The URL with its path as it was built: rewritten, a signed one would no longer fit its signature."""
    url, path = URL(text), urlsplit(text).path
    if not path or "/." in path or not _PATH.match(path):
        return url
    return url.with_path(path, encoded=True, keep_query=True)


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET or PUT again by itself: whether to is decided elsewhere."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _CutOff from error


def _tracing() -> aiohttp.TraceConfig:
    """Note the moment from which bytes of the request may have left: a connection, TLS done, is there."""

    async def connected(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.connected = True

    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(connected)
    config.on_connection_reuseconn.append(connected)
    return config


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Fold the fields: names in lower case, several of a name joined by a comma (RFC 9110 §5.3)."""
    folded: dict[str, str] = {}
    for name, value in response.headers.items():
        key = name.lower()
        folded[key] = f"{folded[key]}, {value}" if key in folded else value
    return folded


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientConnectorCertificateError, "certificate"),
    (aiohttp.ClientConnectorSSLError, "tls"),
    (aiohttp.ClientConnectorError, "connect"),
    (_CutOff, "cut_off"),
    (aiohttp.ClientPayloadError, "cut_off"),
    (aiohttp.ClientResponseError, "bad_reply"),
    (aiohttp.ClientError, "connection"),
    (OSError, "connection"),
)
"""Foreign exceptions and our word for each; the first that fits counts."""

FAILURES = (aiohttp.ClientError, OSError, UnicodeError, _CutOff)
"""All that an exchange can raise; ``TimeoutError`` is an ``OSError``, a bad host name a ``UnicodeError``."""


def _failure(error: aiohttp.ClientError | OSError | UnicodeError | _CutOff, dial: _Dial) -> Lost | Refused:
    if isinstance(error, (aiohttp.InvalidURL, UnicodeError)):
        return Refused("url", "not a host name or canonical address")
    if dial.refusals and not dial.tried and not dial.connected:
        return Refused("address", dial.refusals[0])
    reason = next(word for kind, word in _REASONS if isinstance(error, kind))
    return Lost(Phase.SENT if dial.connected else Phase.NOT_SENT, reason, type(error).__name__)
