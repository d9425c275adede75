"""Does this node live, can it take requests, what does it measure, and where is the manual?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from ulak.edge.api import openapi, problem, reference, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.router import Call, Route, Who

PAGE_POLICY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)
"""For the manual: it has styles of its own, no script, and may be cached."""


async def healthz(call: Call) -> Response:
    """The process lives; it asks nobody else, because a restart would not mend them."""
    del call
    return answer(wire.Health("ok"))


async def readyz(call: Call) -> Response:
    """The node can take requests; 503 with the reason where it can't."""
    reason = await call.deps.ready()
    if reason is not None:
        raise problem.unavailable(reason, 1.0)
    return answer(wire.Health("ok"))


async def metrics(call: Call) -> Response:
    """Figures in Prometheus' text format."""
    return Response(200, call.deps.metrics(), b"text/plain; version=0.0.4; charset=utf-8")


_PUBLIC = Who.ANYONE
WATCH: Sequence[Route] = (
    Route("GET", "/healthz", healthz, "watch", "Does the process live?", {200: wire.Health}, who=_PUBLIC),
    Route("GET", "/readyz", readyz, "watch", "Can the node take requests?", {200: wire.Health}, who=_PUBLIC),
    Route("GET", "/metrics", metrics, "watch", "Figures", {200: str}, who=_PUBLIC, media="text/plain"),
)


def pages(calls: Sequence[Route]) -> Sequence[Route]:
    """The OpenAPI document and the manual made from it, each built when first asked for."""

    @cache
    def document() -> bytes:
        return openapi.text(calls)

    @cache
    def manual() -> bytes:
        return reference.html(openapi.describe(calls)).encode()

    return (
        _page("/openapi.json", document, b"application/json", "The OpenAPI document"),
        _page("/docs", manual, b"text/html; charset=utf-8", "The manual"),
    )


def _page(path: str, body: Callable[[], bytes], media: bytes, summary: str) -> Route:
    async def show(call: Call) -> Response:
        del call
        return Response(200, body(), media, security=PAGE_POLICY)

    return Route("GET", path, show, "watch", summary, {200: str}, who=_PUBLIC)
