"""How does a test speak to the fake push services without any code of ours, frame by frame?"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from ulak.sandbox.push_keys import KEY_ID, TEAM, apns_key, service_account, vapid_key

PATIENCE = 20.0
START = datetime.now(UTC)
"""What time it is for the services until a test moves their clock: tokens may be made when modules are read."""
_GOAWAY = 7


@dataclass
class Answer:
    """What came on one stream."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.reset is not None


class _Boundless(Settings):
    """What the server allows, of which the number of streams is not obeyed."""

    def __getitem__(self, key: int) -> int:
        return 2**31 - 1 if key == SettingCodes.MAX_CONCURRENT_STREAMS else super().__getitem__(key)


class Client:
    """An HTTP/2 connection that does what it is told, and no more: it obeys no limit of streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.remote_settings = _Boundless(client=False)
        self.answers: dict[int, Answer] = {}
        self.settings: dict[int, int] = {}
        self.most: list[int] = []
        self.goaway: tuple[int, int, bytes] | None = None
        self.closed = False
        self._bytes = bytearray()
        self._news = asyncio.Condition()
        self._next = 1
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str, ca: str, protocol: str = "h2", window: int = 65_535) -> Self:
        """Connect, and wait for the server's settings."""
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols([protocol])
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port, ssl=context)
        client = cls(reader, writer)
        client._h2.initiate_connection()
        if window != 65_535:
            client._h2.update_settings({4: window})
        client._send()
        client._task = asyncio.create_task(client._read())
        await client.until(lambda: bool(client.most) or client.closed)
        return client

    async def close(self) -> None:
        """Leave."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self.close()

    async def until(self, condition: Any) -> None:
        """Wait until something holds that depends on what was read."""
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(condition), PATIENCE)

    def begin(self, headers: list[tuple[str, str]], body: bytes = b"", *, end: bool = True) -> int:
        """Send a request; returns its stream."""
        number, self._next = self._next, self._next + 2
        self.answers[number] = Answer()
        self._h2.send_headers(number, headers, end_stream=end and not body)
        if body:
            self._h2.send_data(number, body, end_stream=end)
        self._send()
        return number

    def end(self, number: int) -> None:
        """End a request that was left open."""
        self._h2.end_stream(number)
        self._send()

    def reset(self, number: int) -> None:
        """Give a request up."""
        self._h2.reset_stream(number)
        self._send()

    def widen(self, number: int, by: int) -> None:
        """Let the server send more."""
        self._h2.increment_flow_control_window(by, number)
        self._send()

    async def answer(self, number: int) -> Answer:
        """What came of a request; also when the connection is lost."""
        await self.until(lambda: self.answers[number].over or self.closed)
        return self.answers[number]

    async def call(self, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        """Send and wait."""
        return await self.answer(self.begin(headers, body))

    def _send(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                for event in self._h2.receive_data(self._without_goaway(data)):
                    self._note(event)
                self._send()
                async with self._news:
                    self._news.notify_all()
        except OSError:
            pass
        finally:
            self.closed = True
            async with self._news:
                self._news.notify_all()

    def _without_goaway(self, data: bytes) -> bytes:
        """Whole frames but for GOAWAY, after which ``h2`` would read no answer any more."""
        self._bytes += data
        rest = bytearray()
        while len(self._bytes) >= 9 and len(self._bytes) >= (size := 9 + int.from_bytes(self._bytes[:3], "big")):
            frame = bytes(self._bytes[:size])
            del self._bytes[:size]
            if frame[3] == _GOAWAY:
                last, code = (int.from_bytes(frame[at : at + 4], "big") for at in (9, 13))
                self.goaway = (last, code, frame[17:])
            else:
                rest += frame
        return bytes(rest)

    def _note(self, event: events.Event) -> None:
        match event:
            case events.RemoteSettingsChanged(changed_settings=changed):
                self.settings |= {int(code): change.new_value for code, change in changed.items()}
                self.most += [change.new_value for code, change in changed.items() if int(code) == 3]
            case events.ResponseReceived(stream_id=number, headers=headers):
                answer = self.answers[number]
                answer.headers = {str(name): str(value) for name, value in headers}
                answer.status = int(answer.headers.pop(":status"))
            case events.DataReceived(stream_id=number, data=data, flow_controlled_length=length):
                self.answers[number].body += data
                self._h2.acknowledge_received_data(length, number)
            case events.StreamEnded(stream_id=number):
                self.answers[number].ended = True
            case events.StreamReset(stream_id=number, error_code=code):
                self.answers[number].reset = int(code)
            case _:
                pass


def provider_token(issued: float | None = None, key: Any = None, **more: Any) -> str:
    """A provider token as Apple wants it (header kid; claims iss, iat), made by PyJWT. Never twice the same text."""
    claims = {
        "iss": more.pop("iss", TEAM),
        "iat": int(START.timestamp() if issued is None else issued),
        **more.pop("claims", {}),
    }
    return jwt.encode(claims, key or apns_key(), "ES256", {"kid": more.pop("kid", KEY_ID)})


def apns_headers(token: str, bearer: str, **fields: str | None) -> list[tuple[str, str]]:
    """The header of a good request to APNs, but for ``fields`` (``_`` for ``-``; None leaves one out)."""
    given: dict[str, str | None] = {
        "authorization": f"bearer {bearer}",
        "apns-topic": "org.example.app",
        "apns-push-type": "alert",
        "apns-priority": "10",
    }
    given |= {
        name.replace("_", "-"): value for name, value in fields.items() if not name.startswith(("method", "path"))
    }
    head = [
        (":method", fields.get("method") or "POST"),
        (":scheme", "https"),
        (":path", fields.get("path") or f"/3/device/{token}"),
        (":authority", "127.0.0.1"),
    ]
    return head + [(name, value) for name, value in given.items() if value is not None]


def alert(title: str = "Hello", **more: object) -> bytes:
    """A payload."""
    return json.dumps({"aps": {"alert": {"title": title, "body": "there"}}, **more}).encode()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key that nobody knows."""
    return ec.generate_private_key(ec.SECP256R1())


# Firebase


GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
AUDIENCE = "https://oauth2.googleapis.com/token"


def assertion(key: str = "", now: float | None = None, kid: str | None = None, **claims: object) -> str:
    """What Google's page on OAuth 2.0 for server to server applications wants, but for ``claims``."""
    account = json.loads(service_account())
    issued = int(START.timestamp() if now is None else now)
    given = {"iss": account["client_email"], "scope": SCOPE, "aud": AUDIENCE, "iat": issued, "exp": issued + 3600}
    headers = {"kid": kid or account["private_key_id"]}
    return jwt.encode({**given, **claims}, key or account["private_key"], "RS256", headers)


def post(path: str, kind: str, **fields: str) -> list[tuple[str, str]]:
    """The header of a request to Google."""
    head = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "127.0.0.1")]
    return [*head, ("content-type", kind), *((name.replace("_", "-"), value) for name, value in fields.items())]


async def grant(client: Client, text: str, kind: str = GRANT) -> Answer:
    """Ask for an access token."""
    form = urlencode({"grant_type": kind, "assertion": text}).encode()
    return await client.call(post("/token", "application/x-www-form-urlencoded"), form)


async def send(client: Client, bearer: str, message: object, **more: object) -> Answer:
    """Send a message of FCM."""
    headers = post("/v1/projects/ulak-sandbox/messages:send", "application/json", authorization=f"Bearer {bearer}")
    return await client.call(headers, json.dumps({"message": message, **more}).encode())


# Web Push


def vapid(origin: str, now: float, key: Any = None, **claims: object) -> str:
    """An Authorization as RFC 8292 has it, but for ``claims``."""
    given = {"aud": origin, "exp": int(now) + 3600, "sub": "mailto:ada@example.com", **claims}
    signer = key or vapid_key()
    token = jwt.encode({name: value for name, value in given.items() if value is not None}, signer, "ES256")
    return f"vapid t={token}, k={public(signer)}"


def public(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half as browsers write it."""
    octets = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def unpadded(text: str) -> bytes:
    """Base64url without padding, read."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encrypt(text: bytes, p256dh: str, auth: str, *, size: int = 4096, delimiter: bytes = b"\x02") -> bytes:
    """A body of one record (RFC 8291 §3 and §4, RFC 8188 §2)."""
    there = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unpadded(p256dh))
    own, salt = new_key(), os.urandom(16)
    mine = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    info = b"WebPush: info\0" + unpadded(p256dh) + mine
    secret = HKDF(SHA256(), 32, unpadded(auth), info).derive(own.exchange(ec.ECDH(), there))
    key = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\0").derive(secret)
    nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\0").derive(secret)
    sealed = AESGCM(key).encrypt(nonce, text + delimiter, None)
    return salt + size.to_bytes(4, "big") + bytes([len(mine)]) + mine + sealed


@dataclass
class WebAnswer:
    """What came over HTTP/1.1."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


async def web(
    url: str, ca: str, headers: Mapping[str, str | None], body: bytes, method: str = "POST"
) -> WebAnswer | None:
    """One request over TLS, written by hand; None when the answer does not come whole."""
    place = urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, ssl=context)
    lines = [f"{method} {place.path} HTTP/1.1", f"Host: {place.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    try:
        return await asyncio.wait_for(_answer(reader), PATIENCE)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> WebAnswer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return WebAnswer(int(head[0].split()[1]), fields, body)
