"""May a subscription's endpoint be called: is it a push service's address, in its one plain spelling?

The endpoint of a subscription is a URL that a user's browser hands in, so a liar can write whatever he likes into it.
It is checked when a device registers and again before each call; the egress guard besides looks at the address
that is dialled. A URL passes only in the form that browsers give it, so that no two parsers can read it differently:
lower-case ASCII host, no userinfo, no fragment, no default port written out, no dot segments.

Sources: RFC 8030 §2 (https only), RFC 3986 §3 (grammar), RFC 6454 §6.2 (origin).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SERVICES = (
    "fcm.googleapis.com",
    "*.push.services.mozilla.com",
    "*.push.apple.com",
    "*.notify.windows.com",
)
"""Where the push services of browsers are; ``*.`` stands for one or more labels."""

MAX_LENGTH = 2_048
"""Characters of an endpoint."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_PORT = r"[1-9][0-9]{0,4}"
_PATH = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
_QUERY = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*"
_URL = re.compile(rf"https://({_NAME}|\[[0-9a-f:.]+\])(?::({_PORT}))?(/{_PATH})(\?{_QUERY})?")
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_HOST = re.compile(rf"(?:\*\.(?={_LABEL}\.))?{_NAME}(?::{_PORT})?|\[[0-9a-f:.]+\](?::{_PORT})?")
_HTTPS = "https://"


def check_endpoint(url: str, hosts: Iterable[str] = (), services: Iterable[str] = SERVICES) -> str | None:
    """Say what is wrong with an endpoint, in words that follow its name; None when it may be called.

    ``hosts`` are allowed besides ``services``: a name, a name under ``*.``, or an IP literal, each with a port
    when it is not 443.
    """
    if len(url) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if not url.startswith(_HTTPS):
        return "must begin with https://"
    match = _URL.fullmatch(url)
    if match is None or _DOTS.search(match[3]):
        return "is not in the form that a browser gives a push service's URL"
    host, port = match[1], match[2] or ""
    allowed = [*(named for named in hosts if is_host(named)), *services]
    if not any(_allows(named, host, port) for named in allowed):
        return "is not at a push service that is allowed here"
    return None


def origin(url: str) -> str:
    """The origin of an endpoint that passed the check: ``https://host``, with a port when it is not 443."""
    return url[: url.index("/", len(_HTTPS))]


def is_host(text: str) -> bool:
    """Whether a text may stand among ``hosts``; below ``*.`` there must be at least two labels."""
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


def _allows(named: str, host: str, port: str) -> bool:
    """Whether one allowed host covers that of a URL; a pattern covers no IP literal and no name beyond ASCII."""
    pattern, _, allowed_port = named.rpartition(":") if re.search(rf":{_PORT}\Z", named) else (named, "", "")
    if port != ("" if allowed_port == "443" else allowed_port):
        return False
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and not _is_odd(host)
    return host == pattern


def _is_odd(host: str) -> bool:
    """Whether a host is an IP address by some library's reading, or a name in another script in disguise."""
    labels = host.split(".")
    return (
        host.startswith("[")
        or _NUMBER.fullmatch(labels[-1]) is not None
        or any(label.startswith("xn--") for label in labels)
    )
