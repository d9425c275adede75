"""Are the settings of a vendor's account usable, and if not, which key is wrong?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from ulak.core.fields import did_you_mean

Types = Mapping[str, type | tuple[type, ...]]

COMMON: Types = {"endpoint": str}
"""Settings that every HTTP vendor's account may have."""

_NAMES: Mapping[object, str] = {str: "text", int: "a whole number", bool: "true or false", list: "a list of texts"}


def unknown(key: str, known: Iterable[str]) -> ValueError:
    """What to raise for a key that a provider does not know; of a secret only the variable's key is offered."""
    names = list(known)
    offered = [name for name in names if f"{name}_env" not in names]
    near = did_you_mean(key, offered)
    return ValueError(f"{key}: unknown setting{f'{near} Known' if near else '; known'} are {', '.join(offered)}")


def check_types(settings: Mapping[str, object], known: Types) -> None:
    """Every key must be known and its value of the type; raises ``ValueError`` naming the key."""
    for key, value in settings.items():
        if key not in known:
            raise unknown(key, known)
        wanted = known[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise ValueError(f"{key}: must be {_NAMES.get(wanted, 'a number')}")
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            raise ValueError(f"{key}: must be a list of texts")


def check_secrets(settings: Mapping[str, object], names: Sequence[str]) -> None:
    """Each secret stands there once: by value, as a test has it, or by the name of its variable."""
    for name in names:
        given = [key for key in (name, f"{name}_env") if key in settings]
        if len(given) != 1:
            raise ValueError(f"{name}_env: name the environment variable that holds it")
        secret = settings[given[0]]
        if not isinstance(secret, str) or re.fullmatch(r"[!-~]+", secret) is None:
            raise ValueError(f"{given[0]}: is empty, or has characters that it can't have")


class Variable(str):
    """The name of an environment variable, which stands for a secret until a node reads its environment.

    Of a type of its own, because a secret may look like a name: a node that took one for the other would call an
    account usable and fail at each message.
    """

    __slots__ = ()


def is_variable(secret: object) -> bool:
    """Whether it stands for a secret, so that there is nothing yet to be looked at."""
    return isinstance(secret, Variable)


def check_endpoint(settings: Mapping[str, object], key: str = "endpoint") -> None:
    """A replaced address must be an absolute URL without query, encrypted unless it is on this machine."""
    given = settings.get(key)
    if given is None:
        return
    try:
        url = urlsplit(str(given))
        scheme, host, _ = url.scheme, url.hostname, url.port
    except ValueError:
        scheme, host = "", None
    if host is None or re.search(r"[^!-~]|[?#@\\]", str(given)):
        raise ValueError(f"{key}: must be a URL such as https://api.example.com")
    if scheme != "https" and not (scheme == "http" and is_loopback(host)):
        raise ValueError(f"{key}: must begin with https://; http:// would send the key in the clear")


def check_pattern(settings: Mapping[str, object], key: str, pattern: str, what: str) -> None:
    """A text must have a form, if it is given; ``what`` says which."""
    value = settings.get(key)
    if value is not None and re.fullmatch(pattern, str(value)) is None:
        raise ValueError(f"{key}: must be {what}")


def endpoint(settings: Mapping[str, object], default: str) -> str:
    """Where to send: the account's own address or the vendor's, without a slash at its end."""
    return str(settings.get("endpoint", default)).rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by what it is called."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
