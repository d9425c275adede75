"""Is a JSON Web Token one that a push service would believe?

Read by PyJWT and not by what signs ours, so that both can't share a mistake. Verified tokens are remembered, as
services do: the same one comes with thousands of requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jwt
import msgspec
from jwt.types import Options

KEPT = 1_000

_OFF: Options = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
}


class Token(msgspec.Struct, frozen=True):
    """A token whose signature is good; times are not looked at."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    def number(self, claim: str) -> int | None:
        """A claim that must be whole seconds."""
        value = self.claims.get(claim)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


class Verified:
    """Tokens of one algorithm that were verified lately."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._known: OrderedDict[tuple[str, str], Token] = OrderedDict()

    def read(self, text: str, key: Any, name: str = "") -> Token | None:
        """The token if ``key`` signed it, else None; ``name`` tells keys apart."""
        known = self._known.get((name, text))
        if known is not None:
            return known
        try:
            whole = jwt.decode_complete(text, key, algorithms=[self._algorithm], options=_OFF)
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        token = Token(whole["header"], whole["payload"])
        self._known[name, text] = token
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return token
