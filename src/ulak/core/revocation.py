"""Was this token taken back?

A revocation ends one token of a user, by its id (``jti``), or every one that was made until then. "Until then" is
exact for tokens of Ulak's own: each carries how far the log of revocations had come when it was made
(``Claims.position``), and an entry that came later ends it, whatever the clocks say. For another issuer's tokens
only their time of issue can be compared; where that is told in whole seconds, a token from the very second of the
revocation is refused, too.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ulak.core.token import SKEW, Claims


class Revocation(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log. ``id`` grows without holes; times in Unix seconds.

    ``token_id`` None means every token; from ``expires_at`` on no token is left that it could concern.
    """

    id: int
    tenant: int
    user: str
    token_id: str | None
    not_before: float
    expires_at: float


def ends(entry: Revocation, claims: Claims) -> bool:
    """Whether this entry ends a token or ticket with these claims."""
    if (entry.tenant, entry.user) != (claims.tenant, claims.user):
        return False
    if entry.token_id is not None:
        return entry.token_id == claims.token_id
    if claims.position >= 0:
        # The second half matters only when the log has been put back in time, with the database.
        return claims.position < entry.id or claims.issued_at + SKEW < entry.not_before
    return claims.issued_at <= entry.not_before


class Revoked:
    """The entries that still matter, ready to be asked."""

    def __init__(self) -> None:
        self._users: dict[tuple[int, str], Revocation] = {}
        self._tokens: dict[tuple[int, str, str], Revocation] = {}

    def __len__(self) -> int:
        return len(self._users) + len(self._tokens)

    def add(self, entries: Iterable[Revocation]) -> None:
        """Take over entries, in order of their ids."""
        for entry in entries:
            if entry.token_id is None:
                before = self._users.get((entry.tenant, entry.user), entry)
                latest = max(entry.not_before, before.not_before)
                self._users[entry.tenant, entry.user] = msgspec.structs.replace(entry, not_before=latest)
            else:
                self._tokens[entry.tenant, entry.user, entry.token_id] = entry

    def covers(self, claims: Claims) -> bool:
        """Whether a token or ticket with these claims was taken back."""
        entry = self._users.get((claims.tenant, claims.user))
        if entry is not None and ends(entry, claims):
            return True
        return claims.token_id is not None and (claims.tenant, claims.user, claims.token_id) in self._tokens

    def forget(self, now: float) -> None:
        """Drop what can matter no longer."""
        self._users = {key: entry for key, entry in self._users.items() if entry.expires_at > now}
        self._tokens = {key: entry for key, entry in self._tokens.items() if entry.expires_at > now}
