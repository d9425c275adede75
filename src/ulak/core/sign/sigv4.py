"""How is a request to AWS signed so that its receiver knows who sent it, to whom, and that nobody changed it?

Signature Version 4 with ``AWS4-HMAC-SHA256``, in headers: AWS General Reference, "Create a signed AWS API
request". A path is normalised and encoded once more, as every service but S3 wants it. The body's hash is
always part of the signature. Not signed are fields that a client or proxy may still change on the way.

Both sides are here: ``sign`` for a sender, ``canonical`` and ``signature`` for whoever checks.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"

UNSIGNED = frozenset(
    {
        "authorization",
        "connection",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)
"""Header fields that stay out of the signature: AWS's own clients leave out those that proxies rewrite."""

Headers = Iterable[tuple[str, str]]

_SPACES = re.compile(r"[ \t]+")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Keys:
    """Who signs, for which region and service; ``session_token`` belongs to temporary credentials."""

    access_key: str
    secret_key: str = field(repr=False)
    region: str
    service: str
    session_token: str | None = field(default=None, repr=False)

    def scope(self, at: datetime) -> str:
        """What the signature is good for: day, region, service."""
        return f"{at.astimezone(UTC):%Y%m%d}/{self.region}/{self.service}/aws4_request"


def sign(
    method: str, url: str, headers: Headers, body: bytes, keys: Keys, now: datetime
) -> tuple[tuple[str, str], ...]:
    """The header fields to add to a request: ``X-Amz-Date``, a session's token, and ``Authorization``.

    ``url`` is absolute and percent-encoded as it will be sent; ``headers`` all fields that the caller sets, without
    ``Host``, which is taken from the URL; ``now`` is aware.
    """
    added = [("X-Amz-Date", stamp(now))]
    if keys.session_token is not None:
        added.append(("X-Amz-Security-Token", keys.session_token))
    fields = folded([("host", host_of(url)), *headers, *added])
    names = sorted(name for name in fields if name not in UNSIGNED)
    request = canonical(method, url, [(name, fields[name]) for name in names], hashlib.sha256(body).hexdigest())
    made = signature(request, keys, now)
    credential = f"{keys.access_key}/{keys.scope(now)}"
    value = f"{ALGORITHM} Credential={credential}, SignedHeaders={';'.join(names)}, Signature={made}"
    return (*added, ("Authorization", value))


def signature(request: str, keys: Keys, now: datetime) -> str:
    """The signature of a canonical request, as lower-case hex."""
    hashed = hashlib.sha256(request.encode()).hexdigest()
    text = f"{ALGORITHM}\n{stamp(now)}\n{keys.scope(now)}\n{hashed}"
    key = b"AWS4" + keys.secret_key.encode()
    for part in keys.scope(now).split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def canonical(method: str, url: str, fields: Headers, body_hash: str) -> str:
    """The one spelling of a request that both sides hash; ``fields`` are those that are signed, names sorted."""
    parts = urlsplit(url)
    listed = list(fields)
    return "\n".join(
        (
            method.upper(),
            _path(parts.path),
            _query(parts.query),
            *(f"{name}:{value}" for name, value in listed),
            "",
            ";".join(name for name, _ in listed),
            body_hash,
        )
    )


def folded(headers: Headers) -> dict[str, str]:
    """Fields by lower-case name: outer spaces gone, inner runs one space, several of a name joined by commas."""
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.lower(), _SPACES.sub(" ", value.strip(" \t"))
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


def host_of(url: str) -> str:
    """The ``Host`` field that a client sends for a URL: without a port that is the scheme's own."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return host.removesuffix(f":{_PORTS.get(parts.scheme)}").lower()


def stamp(at: datetime) -> str:
    """A time as AWS writes it: ``20150830T123600Z``."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _path(path: str) -> str:
    """Without empty and dot segments (RFC 3986 §5.2.4), encoded once more than it is sent."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    ends = "/" if kept and path.endswith(("/", "/.", "/..")) else ""
    return "/" + quote("/".join(kept), safe="/-_.~") + ends


def _query(query: str) -> str:
    """Pairs encoded in the one way and sorted as such."""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    encoded = sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="-_.~")
