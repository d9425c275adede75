"""What does the command line say to a node, and how does it take no for an answer?

It only ever talks to the one URL that the operator gave (``--url`` or ``ULAK_URL``): no redirect is
followed and no proxy of the environment is used, so an API key can't wander off.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import aiohttp
import click

T = TypeVar("T")

PAGE = 200
"""Rows asked for at once where everything is wanted: as many as a page may hold."""

SUBPROTOCOL = "ulak.v1"


class Refused(Exception):
    """The node answered with a problem (RFC 9457); its text says what, where and what to do."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.code = str(problem.get("code", status))
        self.retry_after = retry_after
        said = str(problem.get("detail") or problem.get("title") or "no reason given")
        where = f" at {problem['path']}" if problem.get("path") else ""
        hint = f"\n{problem['hint']}" if problem.get("hint") else ""
        super().__init__(f"{status} {self.code}{where}: {said}{hint}")


class Unreachable(Exception):
    """No answer: the node is away, went away meanwhile, or does not speak JSON."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer: its status, its JSON body, and whether it was replayed for the same idempotency key."""

    status: int
    body: Any


class Client:
    """A caller of one node with one API key (or one user's token). Use as an async context manager."""

    def __init__(self, url: str, key: str, *, timeout: float = 30.0) -> None:
        self._base = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session; only inside the ``async with``."""
        if self._session is None:
            message = "use the client in an `async with`"
            raise RuntimeError(message)
        return self._session

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and return its 2xx answer.

        Raises ``Refused`` for any other status and ``Unreachable`` when no whole answer came.
        """
        sent = self._headers | dict(headers or {})
        data = None
        if body is not None:
            data = json.dumps(body).encode()  # ASCII: what stands in an argument may hold lone surrogates
            sent["Content-Type"] = "application/json"
        try:
            async with self.session.request(
                method, self._base + path, data=data, params=params, headers=sent, allow_redirects=False
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: {_words(error)}") from error
        return _understood(response.status, raw, response.headers.get("Retry-After"))

    async def pages(self, path: str, params: Mapping[str, str] | None = None) -> AsyncIterator[list[dict[str, Any]]]:
        """Walk a list endpoint by its cursor, page by page."""
        asked = {"limit": str(PAGE)} | dict(params or {})
        while True:
            page = (await self.call("GET", path, params=asked)).body
            yield page["items"]
            if not page.get("next"):
                return
            asked["cursor"] = page["next"]

    async def socket(self) -> aiohttp.ClientWebSocketResponse:
        """Open ``/v1/socket``. The token goes into the first frame, never into the URL."""
        try:
            return await self.session.ws_connect(
                self._base + "/v1/socket", protocols=(SUBPROTOCOL,), max_msg_size=16 << 20
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"GET /v1/socket: {_words(error)}") from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _understood(status: int, raw: bytes, retry_after: str | None) -> Answer:
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = {"detail": raw[:200].decode("utf-8", "replace")}
        if status < 300:  # any 2xx
            raise Unreachable(f"the answer ({status}) is no JSON: {body['detail']}") from None
    if status < 300:  # any 2xx
        return Answer(status, body)
    problem = body if isinstance(body, dict) else {}
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    raise Refused(status, problem, seconds)


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--url`` and ``--key`` with their environment variables."""
    command = click.option(
        "--key", envvar="ULAK_API_KEY", callback=_key, help="API key (ULAK_API_KEY), needed; `ulak dev` prints one."
    )(command)
    return click.option(
        "--url",
        envvar="ULAK_URL",
        default="http://127.0.0.1:8080",
        show_default=True,
        callback=_url,
        help="The node (ULAK_URL).",
    )(command)


def _key(_context: click.Context, _option: click.Parameter, value: str | None) -> str:
    if not value:
        hint = "`ulak dev` prints one at its first start, `ulak keys create` makes another"
        raise click.UsageError(f"no API key: set ULAK_API_KEY or give --key. {hint}.")
    return value


def _url(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not value.startswith(("http://", "https://")):
        message = f"--url (ULAK_URL) is {value!r}, but begins with http:// or https://, such as http://127.0.0.1:8080"
        raise click.UsageError(message)
    return value


def run(work: Callable[[Client], Awaitable[T]], url: str, key: str) -> T:
    """Run ``work`` with a client; a refusal or a missing node becomes a one-line error and exit code 1."""

    async def main() -> T:
        async with Client(url, key) as client:
            return await work(client)

    try:
        return asyncio.run(main())
    except Refused as error:
        raise click.ClickException(str(error)) from None
    except Unreachable as error:
        hint = f"Is a node running at {url}? Set --url or ULAK_URL."
        raise click.ClickException(f"{error}\n{hint}") from None
