"""Whose token is this, and may it be believed now?

A user's token is a JWT that Ulak signed with a tenant's own key, or the tenant's identity provider with its. Rules:

* the key is chosen by issuer and ``kid`` among keys that are already here; no address is ever made from a token;
* a key has one algorithm, and the header's must be it;
* the tenant is the key's, whatever the token claims; a token that two tenants' keys would open is refused;
* ``exp``, ``iat``, ``sub`` and ``aud`` must be there, and a token may live 24 hours at most;
* times are compared with a ``now`` that is passed in, Unix seconds, with ``SKEW`` for clocks that differ.

RFC 7519 (JWT), RFC 8725 (best current practice).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
import msgspec

from ulak.core import jws, values

OWN = "ulak"
"""The issuer of tokens that Ulak makes, and the audience of all tokens unless an issuer's table says otherwise."""

MAX_LIFE = 86_400
MIN_SECRET = 32
SKEW = 60
MAX_TOKEN = jws.MAX_TOKEN
MAX_TOPICS = 50
MAX_TOKEN_ID = 255


class TokenError(Exception):
    """The token is not believed; ``code`` is stable, and says nothing that helps to guess a better one."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    @property
    def expired(self) -> bool:
        """A fresh token would do: the client may fetch one and come back."""
        return self.code in {"token_expired", "ticket_invalid"}

    @property
    def revoked(self) -> bool:
        """It was taken back."""
        return self.code == "token_revoked"

    @property
    def unavailable(self) -> bool:
        """Nothing is wrong with the token: it can't be judged now. Come back with the same one."""
        return self.code == "token_unavailable"


class UnknownKeyError(TokenError):
    """No key that is here can have signed it for this audience; ``issuer`` is whom it names, believed by nobody."""

    def __init__(self, issuer: str, code: str = "token_key") -> None:
        super().__init__(code)
        self.issuer = issuer


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One key of one tenant.

    ``material`` is the HMAC secret (>= 32 bytes) for HS256, else a public key of ``cryptography``. ``kid`` None
    stands for an issuer's only key, whatever a token's header says.
    """

    tenant: int
    kid: str | None
    material: Any = field(repr=False)
    algorithm: str = "HS256"
    issuer: str = OWN
    audience: str = OWN
    user_claim: str = "sub"

    def __post_init__(self) -> None:
        if self.algorithm not in jws.ALGORITHMS:
            raise ValueError(f"token key {self.kid!r} has no algorithm of {', '.join(jws.ALGORITHMS)}")
        if self.algorithm == "HS256" and (not isinstance(self.material, bytes) or len(self.material) < MIN_SECRET):
            raise ValueError(f"the secret of token key {self.kid!r} is shorter than {MIN_SECRET} bytes")


class Claims(msgspec.Struct, frozen=True, gc=False):
    """What a believed token or ticket says; times in Unix seconds.

    ``topics`` are names, or beginnings of names with a ``*`` behind; ``position`` how far the log of revocations
    had come when Ulak made the token (-1: another issuer's); ``device`` the one that a ticket was made for.
    """

    tenant: int
    user: str
    expires_at: float
    issued_at: float = 0.0
    token_id: str | None = None
    topics: tuple[str, ...] = ()
    position: int = -1
    device: str | None = None


class Grant(msgspec.Struct, frozen=True, gc=False):
    """What a token of ours carries beside user and times; the members are those of ``Claims``."""

    token_id: str | None = None
    topics: tuple[str, ...] = ()
    position: int = -1


Ring = Mapping[tuple[str, str | None], Sequence[TokenKey]]
"""Keys by issuer and key id. Several tenants may have the same: then audience and signature decide."""


def ring(keys: Iterable[TokenKey]) -> Ring:
    """Order keys; raises ``ValueError`` if two of Ulak's own share an id, as a token could then change tenants."""
    ordered: dict[tuple[str, str | None], list[TokenKey]] = {}
    for key in keys:
        held = ordered.setdefault((key.issuer, key.kid), [])
        if held and key.issuer == OWN and held[0] != key:
            raise ValueError(f"token key id {key.kid!r} belongs to two keys")
        held.append(key)
    return ordered


def mint(key: TokenKey, user: str, ttl: int, now: float, grant: Grant | None = None) -> str:
    """Sign a token for a user that lives ``ttl`` seconds (at most 24 h) from ``now``."""
    if not 0 < ttl <= MAX_LIFE:
        raise ValueError(f"a token lives between 1 second and {MAX_LIFE} seconds")
    grant = grant or Grant()
    issued = int(now)
    claims: dict[str, Any] = {"iss": OWN, "aud": OWN, "sub": user, "tnt": key.tenant, "iat": issued}
    claims["exp"] = issued + ttl
    if grant.token_id is not None:
        claims["jti"] = grant.token_id
    if grant.topics:
        claims["topics"] = list(grant.topics)
    if grant.position >= 0:
        claims["rvk"] = grant.position
    return jwt.encode(claims, key.material, algorithm=key.algorithm, headers={"kid": key.kid})


def verify(token: str, keys: Ring, now: float) -> Claims:
    """Believe a token or raise ``TokenError``. Revocations are looked at elsewhere (``core/revocation``)."""
    try:
        envelope = jws.read(token)
    except jws.Malformed:
        raise TokenError("token_invalid") from None
    key = _key_of(envelope, keys)
    claims = envelope.payload
    if "sub" not in claims or "exp" not in claims or "iat" not in claims:
        raise TokenError("token_claims")
    expires_at, issued_at = _times(claims, now)
    own = key.issuer == OWN
    if own and claims.get("tnt", key.tenant) != key.tenant:
        raise TokenError("token_tenant")
    return Claims(
        key.tenant,
        _user(claims.get(key.user_claim)),
        expires_at,
        issued_at,
        _token_id(claims.get("jti")),
        _topics(claims.get("topics")),
        _position(claims.get("rvk")) if own else -1,
    )


def permits(topics: Iterable[str], topic: str) -> bool:
    """Whether one of a token's topics is this one, or the beginning of it with a ``*`` behind."""
    return any(topic.startswith(known[:-1]) if known.endswith("*") else topic == known for known in topics)


def _key_of(envelope: jws.Envelope, keys: Ring) -> TokenKey:
    """The one key that signed; by audience first, because several tenants may use one identity provider."""
    issuer = envelope.payload.get("iss", OWN)
    if not isinstance(issuer, str):
        raise TokenError("token_claims")
    known = [*keys.get((issuer, None), ())]
    if envelope.kid is not None:
        known += keys.get((issuer, envelope.kid), ())
    if not known:
        raise UnknownKeyError(issuer)
    meant = _audiences(envelope.payload)
    candidates = [key for key in known if key.audience in meant]
    if not candidates:
        raise UnknownKeyError(issuer, "token_audience")
    signers: list[TokenKey] = []
    for key in candidates:
        if envelope.signed_by(key.material, key.algorithm):
            signers.append(key)
            if key.tenant != signers[0].tenant:
                raise TokenError("token_tenant")
    if not signers:
        raise TokenError("token_invalid")
    return signers[0]


def _audiences(claims: Mapping[str, Any]) -> Sequence[str]:
    """``aud`` is a text or a list of them (RFC 7519 §4.1.3)."""
    if "aud" not in claims:
        raise TokenError("token_claims")
    given = claims["aud"]
    if isinstance(given, str):
        return (given,)
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else ()


def _times(claims: Mapping[str, Any], now: float) -> tuple[float, float]:
    expires_at, issued_at = _seconds(claims, "exp"), _seconds(claims, "iat")
    not_before = _seconds(claims, "nbf") if "nbf" in claims else issued_at
    if expires_at - issued_at > MAX_LIFE or expires_at <= issued_at:
        raise TokenError("token_life")
    if max(issued_at, not_before) > now + SKEW:
        raise TokenError("token_early")
    if expires_at <= now:
        raise TokenError("token_expired")
    return expires_at, issued_at


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519 §2): Unix seconds, fractions allowed."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise TokenError("token_claims")
    return float(value)


def _user(value: object) -> str:
    if isinstance(value, str):
        with contextlib.suppress(values.Unfit):
            return values.identifier(value)
    raise TokenError("token_claims")


def _token_id(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and 1 <= len(value) <= MAX_TOKEN_ID and value.isprintable():
        return value
    raise TokenError("token_claims")


def _topics(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list) and len(value) <= MAX_TOPICS and all(isinstance(each, str) for each in value):
        with contextlib.suppress(values.Unfit):
            return tuple(map(topic_pattern, value))
    raise TokenError("token_claims")


def topic_pattern(text: str) -> str:
    """A topic's name, or its beginning and a ``*``; raises ``values.Unfit``."""
    if "*" in text[:-1]:
        raise values.Unfit("invalid_topic", "a * in the middle", "use it at the end only, for all that begin so")
    return values.identifier(text)


def _position(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1
