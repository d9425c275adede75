"""How does Google's ``POST /token`` answer whoever asks for an access token by a signed assertion?

As RFC 7523 and Google's "Using OAuth 2.0 for server to server applications" have it; errors are those of RFC 6749
§5.2. The assertion is for Google's own address, wherever this server may listen.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from ulak.sandbox.push.service import Call
from ulak.sandbox.push.tokens import Token, Verified
from ulak.sandbox.push_keys import CLIENT_EMAIL, SERVICE_KEY_ID, service_account_public
from ulak.sandbox.vendor import Said, said

PATH = "/token"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCE = "https://oauth2.googleapis.com/token"
SCOPES = frozenset(
    {"https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"}
)
LONGEST = 3_600
LIVES = 3_599
"""Seconds that an access token lives."""
SKEW = 60
KEPT = 10_000

_TIMEFRAME = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)


class Grants:
    """The access tokens that were given out; ``given`` counts them."""

    def __init__(self) -> None:
        self._verified = Verified("RS256")
        self._until: OrderedDict[str, datetime] = OrderedDict()
        self.given = 0

    def judge(self, call: Call, now: datetime) -> Said:
        """What Google makes of a request for a token."""
        if call.method != "POST":
            return _error(405, "invalid_request", "Only POST is allowed.")
        kind = (call.get("content-type") or "").partition(";")[0].strip().lower()
        pairs = parse_qsl(call.body.decode("latin-1"), keep_blank_values=True)
        form = dict(pairs)
        if kind != "application/x-www-form-urlencoded" or len(form) != len(pairs):
            return _error(400, "invalid_request", "Send a form, each field once.")
        if form.get("grant_type") != GRANT:
            return _error(400, "unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')[:80]}")
        token = self._verified.read(form.get("assertion", ""), service_account_public())
        if token is None or token.header.get("kid", SERVICE_KEY_ID) != SERVICE_KEY_ID:
            return _error(400, "invalid_grant", "Invalid JWT Signature.")
        wrong = _claims(token, now)
        return wrong if wrong is not None else self._give(now)

    def holds(self, token: str, now: datetime) -> bool:
        """Whether an access token was given out and lives."""
        until = self._until.get(token)
        return until is not None and now < until

    def revoke(self) -> None:
        """No token that was given out is good any more."""
        self._until.clear()

    def _give(self, now: datetime) -> Said:
        token = f"ya29.{secrets.token_urlsafe(96)}"
        self._until[token] = now + timedelta(seconds=LIVES)
        self.given += 1
        if len(self._until) > KEPT:
            self._until.popitem(last=False)
        return said(200, {"access_token": token, "expires_in": LIVES, "token_type": "Bearer"})


def _claims(token: Token, now: datetime) -> Said | None:
    """Google's refusal of an assertion, or None."""
    if token.claims.get("iss") != CLIENT_EMAIL:
        return _error(400, "invalid_grant", "Invalid grant: account not found")
    if token.claims.get("aud") != AUDIENCE:
        return _error(400, "invalid_grant", "Invalid JWT: Failed audience check.")
    issued, ends, moment = token.number("iat"), token.number("exp"), now.timestamp()
    if issued is None or ends is None or not 0 < ends - issued <= LONGEST:
        return _error(400, "invalid_grant", _TIMEFRAME)
    if issued > moment + SKEW or ends <= moment:
        return _error(400, "invalid_grant", _TIMEFRAME)
    scopes = str(token.claims.get("scope", "")).split()
    if not scopes or not SCOPES & set(scopes):
        return _error(400, "invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    return None


def _error(status: int, code: str, text: str) -> Said:
    return said(status, {"error": code, "error_description": text})
