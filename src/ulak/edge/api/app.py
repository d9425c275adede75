"""How does one HTTP request go through the door?

Path → route → who calls → path, query and body checked → handler → answer. Whatever goes wrong on the way
becomes a problem in one place; a fault of ours is logged with an incident id and the places in the code,
never with what the caller sent.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from ulak.core import jsonsafe
from ulak.core.apikey import allows
from ulak.core.request import typed
from ulak.core.token import TokenError
from ulak.edge.api import problem
from ulak.edge.api.auth import KeyRing, bearer, not_believed, unauthorised
from ulak.edge.api.deps import ApiDeps
from ulak.edge.api.http import (
    STRANGERS_BODY,
    Receive,
    Response,
    Scope,
    Send,
    check_type,
    problem_response,
    read_body,
    send_response,
)
from ulak.edge.api.problem import Problem, Refused, refused
from ulak.edge.api.query import read_query
from ulak.edge.api.router import Call, Match, Route, Router, Who
from ulak.edge.api.table import ROUTES
from ulak.edge.body import HungUp

log = logging.getLogger("ulak.api")
access = logging.getLogger("ulak.access")

STRANGERS = 256
"""Bodies under way at a time from callers who need not say who they are."""


class Api:
    """The HTTP API as an ASGI application (scope type ``http`` only)."""

    def __init__(self, deps: ApiDeps, routes: Sequence[Route] = ROUTES) -> None:
        self._deps = deps
        self._router = Router(routes)
        self._strangers = 0
        self._ring = KeyRing(deps.keys, deps.clock, deps.monotonic, deps.limits.key_age)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises for what a caller did."""
        started = self._deps.monotonic()
        method = scope["method"]
        headers = _headers(scope)
        match = self._router.find(scope["raw_path"])
        route = match.routes.get("GET" if method == "HEAD" else method) if match is not None else None
        try:
            response = await self._answer(route, match, scope, headers, receive)
        except HungUp:
            return
        except Exception as error:  # noqa: BLE001  # the one place where errors become answers
            response = self._error(error, route)
        if route is not None:
            response.headers += self._cross_origin(route, headers)
        await send_response(send, response, whole=method != "HEAD")
        if access.isEnabledFor(logging.INFO):
            self._log(method, route, response, started)

    async def _answer(
        self,
        route: Route | None,
        match: Match | None,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
    ) -> Response:
        if match is None:
            raise problem.not_found("path")
        if scope["method"] == "OPTIONS":
            return self._options(match, headers)
        if route is None:
            error = refused(405, "method_not_allowed", f"not {scope['method'][:20]}, but {match.allowed.decode()}")
            raise Refused(error.problem, ((b"allow", match.allowed),))
        tenant, user, proof = await self._caller(route, headers)
        params = match.params() if match.segments else {}
        query = read_query(route, scope["query_string"])
        body = await self._body(route, headers, receive) if route.takes_body else None
        call = Call(self._deps, tenant, user, params, query, body, headers, self._deps.clock(), proof)
        return await route.handler(call)

    async def _caller(self, route: Route, headers: Mapping[bytes, bytes]) -> tuple[int, str, str | None]:
        """Whose call this is: tenant, user where it is a user's own, and what proved it; raises 401 or 403."""
        if route.who is Who.ANYONE:
            return -1, "", None
        token = bearer(headers.get(b"authorization"))
        if route.who is Who.USER:
            try:
                claims = await self._deps.tokens.verify(token)
            except TokenError as error:
                raise not_believed(error) from None
            return claims.tenant, claims.user, claims.token_id
        key = await self._ring.find(token)
        if key is None:
            raise unauthorised("the API key does not hold", "use a key that is neither mistyped, revoked nor expired")
        if route.scope is not None and not allows(key.scopes, route.scope):
            raise refused(403, "scope_missing", f"the key lacks the scope {route.scope.value}", "use another key")
        return key.tenant, "", key.prefix

    async def _body(self, route: Route, headers: Mapping[bytes, bytes], receive: Receive) -> Any:
        check_type(headers, route.raw)
        data = await self._data(route, headers, receive)
        if route.body is None:
            return data
        if not data and route.may_be_empty:
            return route.body()
        return typed(jsonsafe.loads(data)[0], route.body)

    async def _data(self, route: Route, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The body; of those who need not say who they are only so much at a time, because it fills our memory."""
        deadline = self._deps.limits.body_deadline
        if route.who is not Who.ANYONE:
            return await read_body(receive, headers, deadline)
        if self._strangers >= STRANGERS:
            raise problem.unavailable("too many are at it", 1.0)
        self._strangers += 1
        try:
            return await read_body(receive, headers, deadline, STRANGERS_BODY)
        finally:
            self._strangers -= 1

    def _options(self, match: Match, headers: Mapping[bytes, bytes]) -> Response:
        allow = (b"allow", match.allowed)
        allowed = next(filter(None, (self._cross_origin(route, headers) for route in match.routes.values())), ())
        if not allowed:
            return Response(204, headers=(allow,))
        asked = (
            (b"access-control-allow-methods", match.allowed),
            (b"access-control-allow-headers", b"authorization, content-type, last-event-id"),
            (b"access-control-max-age", b"600"),
        )
        return Response(204, headers=(allow, *allowed, *asked))

    def _cross_origin(self, route: Route, headers: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """Let a page of a listed origin read the answer to a user's call: exact comparison, no credentials.

        Pages of any origin may make calls of which nothing is proved by what a browser adds.
        """
        if route.anywhere:
            return ((b"access-control-allow-origin", b"*"),)
        if route.who is not Who.USER:
            return ()
        origin = headers.get(b"origin")
        if origin is None or origin.decode("latin-1") not in self._deps.origins:
            return ((b"vary", b"origin"),) if self._deps.origins else ()
        return ((b"access-control-allow-origin", origin), (b"vary", b"origin"))

    def _error(self, error: Exception, route: Route | None) -> Response:
        known = problem.of(error)
        if known is not None:
            headers = known.headers
            if known.problem.status in (408, 413):
                headers += ((b"connection", b"close"),)  # what is left of the body is not worth reading
            return problem_response(known.problem, headers)
        incident = self._deps.entropy(8).hex()
        where = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        log.error(
            "incident %s: %s in %s %s at %s",
            incident,
            type(error).__name__,
            route.method if route else "?",
            route.path if route else "?",
            " < ".join(reversed(where)),
        )
        unforeseen = Problem(
            "Internal Server Error", 500, "internal", "a fault of ours; it has been logged", incident=incident
        )
        return problem_response(unforeseen)

    def _log(self, method: str, route: Route | None, response: Response, started: float) -> None:
        # The route's template, never the path: that holds ids and addresses of people.
        path = route.path if route is not None else "-"
        milliseconds = (self._deps.monotonic() - started) * 1000
        access.info("%s %s %d %.1f ms", method[:20], path, response.status, milliseconds)


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """Headers by their lower-case name, as ASGI gives them; of a repeated one the last."""
    return dict(scope["headers"])
