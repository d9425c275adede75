"""What do the answers of Firebase Cloud Messaging mean, and what do we send it?

``POST /v1/projects/<project>/messages:send`` over HTTP/2, one device a call, with an access token that Google grants
for an hour. A device is dead only where FCM's own error detail says so: a plain 404 means a wrong project, and must
cost no device.

Sources: Firebase, REST reference of ``projects.messages`` and ``ErrorCode``, "Throttling and quotas", "Best practices
when sending FCM messages at scale"; Google, "Using OAuth 2.0 for server to server applications"; bodies of errors as
users show them (action_push_native#141, firebase-admin-go#719, firebase-admin-node#3215).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import msgspec

from ulak.core.device import AddressKind, Fate
from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome
from ulak.core.sign import jwt
from ulak.providers import keys, notice
from ulak.providers.answers import Answer, Table, rule, seconds, text_of
from ulak.providers.contract import Capabilities, Credential, HttpReply, HttpRequest, Message, Reply
from ulak.providers.fcm_message import Case, data_of, encode

CAPABILITIES = Capabilities(channel=Channel.PUSH)

ENDPOINT = "https://fcm.googleapis.com"
TOKEN_ENDPOINT = "https://oauth2.googleapis.com"  # noqa: S105 - where tokens are granted
AUDIENCE = "https://oauth2.googleapis.com/token"
"""Whom an assertion is for, wherever it is handed in."""
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

LEAST_WAIT = 10.0
"""FCM wants no call to be repeated sooner."""
QUOTA_SECONDS = 60.0
"""How long to wait after a 429 that names no time: quotas are counted by the minute."""
AUTH_SECONDS = 600.0
"""How long to leave a device alone whose platform's key in Firebase is refused: somebody has to mend that."""
RENEW_AHEAD = 300
"""Seconds before its end at which an access token is renewed."""

SETTINGS: keys.Types = {
    "service_account": str,
    "service_account_env": str,
    "project": str,
    "apps": list,
    "endpoint": str,
    "token_endpoint": str,
    "ca_file": str,
}
"""The settings of an account and their types; ``docs/how-to/push-fcm.md`` explains each."""

TABLE = Table(
    "fcm",
    rule("200 with name", Kind.ACCEPTED, "accepted",
         "FCM has taken it; whether it is shown, only the app can tell."),
    rule("404 with UNREGISTERED", Kind.RECIPIENT_PERMANENT, "fcm_unregistered",
         "The app was removed, or the token has run out: the device goes into quarantine.", device=Fate.DEAD),
    rule('400 with INVALID_ARGUMENT,token-field saying "not a valid FCM registration token"', Kind.RECIPIENT_PERMANENT,
         "fcm_invalid_token", "FCM never issued this token: the device goes into quarantine.", device=Fate.DEAD),
    rule("400 with Apns-Unregistered,Apns-ExpiredToken", Kind.RECIPIENT_PERMANENT, "fcm_apns_unregistered",
         "Behind FCM, Apple knows the iPhone's token no more: the device goes into quarantine.", device=Fate.DEAD),
    rule("400 with Apns-BadDeviceToken,Apns-DeviceTokenNotForTopic", Kind.RECIPIENT_PERMANENT, "fcm_apns_bad_token",
         "Behind FCM, Apple refuses the iPhone's token: a damaged one, or Firebase has the key of another app or "
         "environment. Quarantine.", device=Fate.DOUBTED),
    rule("400 with token-field", Kind.RECIPIENT_PERMANENT, "fcm_token_field",
         "FCM points to the token or installation id, without calling it invalid. Quarantine.", device=Fate.DOUBTED),
    rule("403 with SENDER_ID_MISMATCH", Kind.RECIPIENT_PERMANENT, "fcm_sender_id_mismatch",
         "A device of another Firebase project, or the account's project is the wrong one. Quarantine.",
         device=Fate.DOUBTED),
    rule("400 with INVALID_ARGUMENT,BadRequest", Kind.PAYLOAD_ERROR, "fcm_invalid_argument",
         "FCM refuses a value of the message, or its size."),
    rule("413", Kind.PAYLOAD_ERROR, "fcm_http_413", "The message is larger than FCM takes."),
    rule("401 with THIRD_PARTY_AUTH_ERROR", Kind.RECIPIENT_TEMPORARY, "fcm_third_party_auth",
         "The key for APNs or Web Push in Firebase is wrong or missing: devices of that platform wait, others don't.",
         wait=AUTH_SECONDS),
    rule("401", Kind.NEXT_PROVIDER, "fcm_http_401", "The access token was refused, a new one as well."),
    rule("403", Kind.NEXT_PROVIDER, "fcm_http_403",
         "The service account lacks the right to send, or the FCM API is switched off in the project."),
    rule("404", Kind.NEXT_PROVIDER, "fcm_http_404",
         "No word of FCM's on the device: the project, or the address that we call, is wrong. No device is touched."),
    rule('429 saying "device"', Kind.RECIPIENT_TEMPORARY, "fcm_device_rate",
         "Too many for this device: it alone is left alone, for a minute unless FCM says how long.",
         device=Fate.BUSY, wait=QUOTA_SECONDS),
    rule("429", Kind.THROTTLED, "fcm_http_429",
         "The project's quota of a minute is used up: wait as FCM says, else a minute, never under 10 s.",
         wait=QUOTA_SECONDS),
    rule("500,503", Kind.RETRY, "fcm_http_{status}",
         "A fault of FCM's: as it says, else from 10 s doubling up to 15 minutes (critical: 30 s)."),
    grants=True,
)  # fmt: skip
OUTCOMES = TABLE.rows

_FCM_ERROR = "google.firebase.fcm.v1.FcmError"
_APNS_ERROR = "google.firebase.fcm.v1.ApnsError"
_OF_APPLE = frozenset({"Unregistered", "ExpiredToken", "BadDeviceToken", "DeviceTokenNotForTopic"})
_OF_DEVICE = frozenset({"message.token", "message.fid"})
_PROJECT = r"[a-z0-9][a-z0-9.:-]{1,99}"
_TAKEN = re.compile(r"projects/[^/]+/messages/.+")
_VISIBLE = re.compile(r"[!-~]+")


class ServiceAccount(msgspec.Struct, frozen=True, gc=False):
    """The file that Google's console gives out for a service account, as far as we need it."""

    project_id: str
    client_email: str
    private_key: str
    private_key_id: str | None = None

    def __repr__(self) -> str:
        """Without the key."""
        return f"ServiceAccount({self.project_id})"


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's settings are unusable."""
    keys.check_types(settings, SETTINGS)
    given = [settings[key] for key in ("service_account", "service_account_env") if key in settings]
    if len(given) != 1 or not given[0]:
        raise ValueError("service_account_env: name the environment variable that holds the JSON file's text")
    keys.check_pattern(settings, "project", _PROJECT, "a project id, such as octo-1a2b3")
    if not keys.is_variable(given[0]):
        try:
            jwt.rsa(service_account(str(given[0])).private_key)
        except ValueError as error:
            raise ValueError(f"service_account: {error}") from None
    for key in ("endpoint", "token_endpoint"):
        keys.check_endpoint(settings, key)
    if "ca_file" in settings and not {"endpoint", "token_endpoint"} & settings.keys():
        raise ValueError("ca_file: goes together with endpoint; Google's own certificates need none")


@lru_cache(maxsize=64)
def service_account(text: str) -> ServiceAccount:
    """The service account in a file's text; raises ``ValueError``, which never shows any of it."""
    try:
        found = msgspec.json.decode(text, type=ServiceAccount)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise ValueError("must be the JSON of a service account's key, as Google's console gives it out") from None
    if re.fullmatch(_PROJECT, found.project_id) is None or _VISIBLE.fullmatch(found.client_email) is None:
        raise ValueError("its project_id or client_email is none")
    return found


def build(messages: Sequence[Message], account: Account, now: datetime) -> HttpRequest:
    """One message as one call; raises ``ContentError`` when it can never be sent."""
    (message,) = messages
    content, device = notice.addressed(message, (AddressKind.FCM_TOKEN, AddressKind.FCM_FID))
    case = Case(content, message, device, data_of(content, message), now)
    # The device's address is no part of what FCM limits.
    spared = len(device.address)
    body = notice.within(lambda shown: encode(case, shown), notice.texts(content), lambda body: len(body) - spared)
    url = f"{keys.endpoint(account.settings, ENDPOINT)}/v1/projects/{_project(account)}/messages:send"
    return HttpRequest("POST", url, (("content-type", "application/json"),), body)


def read(reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
    """Say what the reply meant. Never raises, whatever the reply."""
    del account
    return [_verdict(reply, message, now) for message in messages]


def scope(request: HttpRequest, account: Account) -> str:
    """One access token serves all of an account's calls."""
    del request, account
    return ""


def credential(scope: str, account: Account, now: datetime) -> HttpRequest:
    """Ask Google for an access token, by an assertion that our key signed (RFC 7523)."""
    del scope
    holder = service_account(str(account.settings["service_account"]))
    issued = int(now.timestamp())
    claims: dict[str, str | int] = {
        "iss": holder.client_email,
        "scope": SCOPE,
        "aud": AUDIENCE,
        "iat": issued,
        "exp": issued + 3_600,
    }
    assertion = jwt.mint(jwt.rsa(holder.private_key), claims, holder.private_key_id)
    base = str(account.settings.get("token_endpoint", TOKEN_ENDPOINT)).rstrip("/")
    form = urlencode({"grant_type": GRANT, "assertion": assertion}).encode("ascii")
    return HttpRequest("POST", f"{base}/token", (("content-type", "application/x-www-form-urlencoded"),), form)


def granted(reply: HttpReply, account: Account, now: datetime) -> Credential | None:
    """The access token in Google's answer; None when there is none. Never raises."""
    del account
    said = notice.json_object(reply.body) if reply.status == 200 else {}
    token, kind, life = (said.get(key) for key in ("access_token", "token_type", "expires_in"))
    if not isinstance(token, str) or _VISIBLE.fullmatch(token) is None or str(kind).lower() != "bearer":
        return None
    if isinstance(life, bool) or not isinstance(life, int) or not 0 < life <= 86_400:
        return None
    renew = max(life - RENEW_AHEAD, life // 2)
    return Credential(f"Bearer {token}", now + timedelta(seconds=renew), now + timedelta(seconds=life))


def stale(reply: HttpReply) -> bool:
    """Whether Google refused the access token itself, and not a key that it holds for another service."""
    return reply.status == 401 and _named(_error(reply), 401) != "THIRD_PARTY_AUTH_ERROR"


def _project(account: Account) -> str:
    project = account.settings.get("project")
    return str(project) if project else service_account(str(account.settings["service_account"])).project_id


def _verdict(reply: Reply, message: Message, now: datetime) -> Outcome:
    if isinstance(reply, HttpReply):
        return TABLE.judge(_answer(reply, message, now))
    return TABLE.unanswered(notice.discreet(reply, message))


def _answer(reply: HttpReply, message: Message, now: datetime) -> Answer:
    """What FCM said, by its own error detail; a success is proven by the message's name in it."""
    status = reply.status
    if status == 200:
        name = notice.json_object(reply.body).get("name")
        taken = isinstance(name, str) and _TAKEN.fullmatch(name) is not None
        return Answer(status, "name" if taken else "", vendor_id=name if taken else None)
    error = _error(reply)
    text = notice.covered(" ".join(_texts(error)) if error else text_of(reply), message)
    return Answer(status, _named(error, status), text, wait=_wait(reply, message, now))


def _wait(reply: HttpReply, message: Message, now: datetime) -> float | None:
    """Seconds until the next call, where that matters: as FCM says, never under ``LEAST_WAIT``."""
    if reply.status not in (429, 500, 503):
        return None
    asked = seconds(reply.headers, now)
    if asked is None:
        return None if reply.status == 429 else notice.doubled(message, LEAST_WAIT)
    return max(LEAST_WAIT, asked)


def _error(reply: HttpReply) -> dict[str, Any]:
    """The ``error`` of Google's answer; an empty one for anything else."""
    error = notice.json_object(reply.body).get("error")
    return error if isinstance(error, dict) else {}


def _details(error: Mapping[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    """The details of one type; Google writes it behind the address of its types."""
    details = error.get("details")
    for each in details if isinstance(details, list) else ():
        if isinstance(each, dict) and str(each.get("@type")).rpartition("/")[2] == kind:
            yield each


def _named(error: Mapping[str, Any], status: int) -> str:
    """FCM's word for an error. What is not of its own detail never speaks of a device."""
    codes = [code for each in _details(error, _FCM_ERROR) if isinstance(code := each.get("errorCode"), str)]
    if not codes:
        about = error.get("status") == "INVALID_ARGUMENT" or any(_violations(error, "BadRequest", "fieldViolations"))
        return "BadRequest" if status == 400 and about else ""
    if codes[0] != "INVALID_ARGUMENT":
        return codes[0]
    for each in _details(error, _APNS_ERROR):
        if each.get("reason") in _OF_APPLE:
            return f"Apns-{each['reason']}"
    fields = [each.get("field") for each in _violations(error, "BadRequest", "fieldViolations")]
    return "token-field" if any(field in _OF_DEVICE for field in fields if isinstance(field, str)) else codes[0]


def _violations(error: Mapping[str, Any], kind: str, key: str) -> Iterator[dict[str, Any]]:
    for detail in _details(error, f"google.rpc.{kind}"):
        listed = detail.get(key)
        yield from (each for each in listed if isinstance(each, dict)) if isinstance(listed, list) else ()


def _texts(error: Mapping[str, Any]) -> Iterator[str]:
    """What Google says for people, and which quota or field it means."""
    yield from (said for key in ("status", "message") if isinstance(said := error.get(key), str))
    for kind, key in (("QuotaFailure", "violations"), ("BadRequest", "fieldViolations")):
        for each in _violations(error, kind, key):
            yield from (said for name in ("subject", "field", "description") if isinstance(said := each.get(name), str))
