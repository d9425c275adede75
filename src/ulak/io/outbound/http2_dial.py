"""How does a connection for HTTP/2 come about, and to which address?

The name is resolved here, each address is judged by the egress guard, and the very address that was judged is dialled:
a resolver that changes its mind finds nobody who asks it again. The certificate is checked against the name. The time
of all of it is bounded.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from ulak.io.outbound.egress import Network, judge_dial
from ulak.io.outbound.http import Forbidden
from ulak.providers.contract import Lost, Phase, Refused

Address = tuple[Any, ...]
"""What ``getaddrinfo`` gives: family, kind, protocol, name, and the address that a socket takes."""
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
Made = TypeVar("Made", bound=asyncio.Protocol)

ALPN = "h2"
SECONDS = 10.0
_AT_MOST = 4
"""Addresses of one name that are tried."""
_GOODBYE = 2.0
"""Seconds for TLS to end in good order."""

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "timeout"),
    (socket.gaierror, "dns"),
    (UnicodeError, "dns"),
    (ssl.SSLCertVerificationError, "certificate"),
    (ssl.SSLError, "tls"),
    (OSError, "connect"),
)
"""What can go wrong, and our word for each; the first that fits counts."""


async def resolve(host: str, port: int) -> Sequence[Address]:
    """The addresses of a name, as the system knows them."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Dialler:
    """Makes connections that speak HTTP/2, through the egress guard.

    ``allow_networks`` are the operator's exceptions; ``tls`` verifies and offers ``h2`` (``ValueError`` if it does not
    verify); ``seconds`` bounds one dial, all addresses of the name included.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        allow_networks: Iterable[Network] = (),
        *,
        names: Resolve = resolve,
        seconds: float = SECONDS,
    ) -> None:
        if not (tls.check_hostname and tls.verify_mode is ssl.CERT_REQUIRED):
            raise ValueError("the TLS context must verify certificates and host names")
        self._tls = tls
        self._allow = tuple(allow_networks)
        self._resolve = names
        self._seconds = seconds

    async def dial(self, host: str, port: int, made: Callable[[], Made]) -> Made | Lost | Refused:
        """Connect; the protocol that ``made`` gives is the connection's. Never raises for what the way there does."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._secure(await self._connect(host, port), host, made)
        except Forbidden as error:
            return Refused("address", error.reason)
        except (OSError, UnicodeError) as error:
            return Lost(Phase.NOT_SENT, _reason(error), type(error).__name__)

    async def _connect(self, host: str, port: int) -> socket.socket:
        """A connected socket to the first of the addresses that may be dialled and answers."""
        addresses = list(await self._resolve(host, port))[:_AT_MOST]
        problem: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
        tried = False
        for family, kind, protocol, _, address in addresses:
            reason = judge_dial(address[0], address[1], self._allow)
            if reason is not None:
                problem = problem if tried else Forbidden(reason)
                continue
            tried = True
            try:
                async with asyncio.timeout(self._seconds / len(addresses)):
                    return await _open(socket.socket(family, kind, protocol), address)
            except OSError as error:
                problem = error
        raise problem

    async def _secure(self, plain: socket.socket, host: str, made: Callable[[], Made]) -> Made | Lost:
        transport, protocol = await asyncio.get_running_loop().create_connection(
            made, sock=plain, ssl=self._tls, server_hostname=host, ssl_shutdown_timeout=_GOODBYE
        )
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() == ALPN:
            return protocol
        transport.abort()
        return Lost(Phase.NOT_SENT, "alpn", "the server does not speak HTTP/2")


async def _open(plain: socket.socket, address: Any) -> socket.socket:
    try:
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, address)
    except BaseException:
        plain.close()
        raise
    return plain


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and "NO_APPLICATION_PROTOCOL" in (error.reason or ""):
        return "alpn"
    return next(word for kind, word in _REASONS if isinstance(error, kind))
