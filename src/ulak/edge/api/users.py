"""What can a caller store about users, and what have they chosen?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from ulak.core import jsonsafe, values
from ulak.core.invalid import invalid
from ulak.core.model import Channel
from ulak.core.token import MAX_LIFE, MAX_TOKEN_ID, MAX_TOPICS, topic_pattern
from ulak.edge.api import paging, problem, shape, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.router import Call
from ulak.io.postgres.consents import NEWEST, agent
from ulak.io.postgres.users import By, Choice, Profile

MAX_ATTRIBUTES = 16_384
"""Bytes of a user's attributes in canonical JSON."""

MAX_CHOICES = 500
ANY = "*"


class UserBody(Struct, forbid_unknown_fields=True):
    """What is known of a user.

    PUT: a field left out is forgotten. PATCH: it is kept, and null forgets it; attributes are merged key
    by key (RFC 7396, one level).
    """

    email: str | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET
    locale: str | UnsetType | None = UNSET
    timezone: str | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET


class PreferenceBody(Struct, forbid_unknown_fields=True):
    """Whether a category is wanted on a channel; ``*`` stands for every one."""

    category: Annotated[str, Meta(min_length=1, max_length=values.MAX_ID)]
    channel: str
    allowed: bool


class PreferencesBody(Struct, forbid_unknown_fields=True):
    """PUT: these and no others. PATCH: these, and the others as they are."""

    preferences: Annotated[list[PreferenceBody], Meta(max_length=MAX_CHOICES)]


class TokenBody(Struct, forbid_unknown_fields=True):
    """How long the token is to hold, in seconds, and what its user may subscribe to.

    ``topics`` are names, or beginnings of names with a ``*`` behind.
    """

    ttl: Annotated[int, Meta(ge=1, le=MAX_LIFE)] = 3_600
    topics: Annotated[list[str], Meta(max_length=MAX_TOPICS)] = []


class RevokeBody(Struct, forbid_unknown_fields=True):
    """One token by its id (``jti``); without it all that were made until now."""

    token_id: Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN_ID)] | None = None


_FIELDS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("email", values.email),
    ("phone", values.phone),
    ("locale", values.locale),
    ("timezone", values.timezone),
)


def _given(body: UserBody) -> dict[str, str | None]:
    """The plain fields that were given, checked."""
    given: dict[str, str | None] = {}
    for name, check in _FIELDS:
        value = getattr(body, name)
        if value is UNSET:
            continue
        try:
            given[name] = None if value is None else check(value)
        except values.Unfit as error:
            raise invalid(error.code, f"$.{name}", error.message, error.hint) from None
    return given


def _attributes(attributes: dict[str, Any]) -> str | None:
    kept = {key: value for key, value in attributes.items() if value is not None}
    text = jsonsafe.canonical(kept)
    if len(text) > MAX_ATTRIBUTES:
        raise invalid("attributes_too_large", "$.attributes", f"{len(text)} bytes", f"keep them below {MAX_ATTRIBUTES}")
    return text.decode() if kept else None


async def put(call: Call) -> Response:
    """Create or replace a user."""
    body: UserBody = call.body
    profile = Profile(**_given(body), attributes=_attributes(body.attributes or {}))
    return answer(shape.user(await call.deps.users.put(call.tenant, call.params["user"], profile)))


async def patch(call: Call) -> Response:
    """Change a user."""
    body: UserBody = call.body
    given = _given(body)

    def change(known: Profile) -> Profile:
        changed = replace(known, **given)
        if body.attributes is UNSET:
            return changed
        if body.attributes is None:
            return replace(changed, attributes=None)
        return replace(changed, attributes=_attributes({**shape.stored_object(known.attributes), **body.attributes}))

    row = await call.deps.users.merge(call.tenant, call.params["user"], change)
    if row is None:
        raise problem.not_found("user")
    return answer(shape.user(row))


async def get(call: Call) -> Response:
    """One user."""
    return answer(shape.user(await _known(call)))


async def _known(call: Call) -> Any:
    row = await call.deps.users.get(call.tenant, call.params["user"])
    if row is None:
        raise problem.not_found("user")
    return row


async def listed(call: Call) -> Response:
    """A page of users."""
    q: paging.Page = call.query
    rows = await call.deps.users.page(call.tenant, paging.read(q.cursor, str, ""), q.limit + 1)
    items = [shape.user(row) for row in rows[: q.limit]]
    return answer(wire.UserPage(items, paging.following(rows, q.limit, lambda row: row["id"])))


async def erase(call: Call) -> Response:
    """Erase a user."""
    if not await call.deps.users.erase(call.tenant, call.params["user"]):
        raise problem.not_found("user")
    return Response(204)


async def token(call: Call) -> Response:
    """Make a token for a user."""
    body: TokenBody = call.body
    topics = [_topic(text, f"$.topics[{index}]") for index, text in enumerate(body.topics)]
    issued = await call.deps.tokens.issue(call.tenant, call.params["user"], body.ttl, topics)
    return answer(wire.TokenAnswer(issued.text, issued.expires_at, issued.token_id), 201)


def _topic(text: str, path: str) -> str:
    try:
        return topic_pattern(text)
    except values.Unfit as error:
        raise invalid(error.code, path, error.message, error.hint) from None


async def revoke(call: Call) -> Response:
    """Take back a user's tokens; answers after the commit."""
    body: RevokeBody = call.body
    if body.token_id is not None and not body.token_id.isprintable():
        raise invalid("invalid_id", "$.token_id", "it holds a control character", "give the token's jti")
    entry = await call.deps.tokens.revoke(call.tenant, call.params["user"], body.token_id)
    return answer(wire.RevokedAnswer(entry.user, entry.token_id, datetime.fromtimestamp(entry.not_before, UTC)))


# ---------------------------------------------------------------------------------------- preferences


def choices(body: PreferencesBody) -> Sequence[Choice]:
    """Check choices; one place may be named once only."""
    found: dict[tuple[str, str], Choice] = {}
    for index, item in enumerate(body.preferences):
        path = f"$.preferences[{index}]"
        if item.channel != ANY and item.channel not in list(Channel):
            known = ", ".join(Channel)
            raise invalid("invalid_channel", f"{path}.channel", "no such channel", f"one of {known}, or *")
        try:
            category = values.identifier(item.category)
        except values.Unfit as error:
            raise invalid(error.code, f"{path}.category", error.message, error.hint) from None
        if (category, item.channel) in found:
            raise invalid("repeated_choice", path, "this category and channel stand twice", "keep one")
        found[category, item.channel] = Choice(category, item.channel, item.allowed)
    return list(found.values())


async def preferences(call: Call) -> Response:
    """A user's choices."""
    await _known(call)
    return answer(shape.preferences(await call.deps.users.preferences(call.tenant, call.params["user"])))


async def put_preferences(call: Call) -> Response:
    """Replace a user's choices."""
    return await _choose(call, replace_all=True)


async def patch_preferences(call: Call) -> Response:
    """Change some of a user's choices."""
    return await _choose(call, replace_all=False)


async def _choose(call: Call, *, replace_all: bool) -> Response:
    chosen = choices(call.body)
    await _known(call)
    user = call.params["user"]
    rows = await call.deps.users.choose(call.tenant, user, chosen, said(call, "api"), replace=replace_all)
    return answer(shape.preferences(rows))


def said(call: Call, source: str) -> By:
    """Who chooses by this call, for the record of consent."""
    return By(source, call.proof, agent(call.headers.get(b"user-agent")))


async def consents(call: Call) -> Response:
    """A user's record of consent; a user who is not stored may have one, too."""
    q: paging.Page = call.query
    before = min(paging.read(q.cursor, int, NEWEST), NEWEST)
    rows = await call.deps.consents.page(call.tenant, call.params["user"], before, q.limit + 1)
    items = [shape.consent(row) for row in rows[: q.limit]]
    return answer(wire.ConsentPage(items, paging.following(rows, q.limit, lambda row: row["id"])))
