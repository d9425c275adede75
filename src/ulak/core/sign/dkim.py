"""How does a receiver know that an email comes from our domain, unchanged?

DKIM (RFC 6376) with relaxed canonicalisation of header and body, ``rsa-sha256`` or ``ed25519-sha256``
(RFC 8463). The list of signed fields is explicit; those that change what a reader sees or does are named
once more than they occur ("oversigned", RFC 6376 §8.15), so that nobody can add another of them. One-click
unsubscription counts only when both of its fields are covered (RFC 8058 §4), and they always are.

Signs messages as ``content/mime`` makes them: ASCII, CRLF, each field at most once.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

OVERSIGNED = (
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "reply-to",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-id",
)
"""Fields that are signed once more than they occur: none of them can be added on the way."""

SIGNED = ("auto-submitted", "content-language", "feedback-id", "in-reply-to", "references")
"""Fields that are signed where they occur."""

LEAST_BITS = 1024
"""RSA keys below are refused by receivers (RFC 8301 §3.2), which wants 2048 of signers."""

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+\Z"
)
_SELECTOR = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9_-]+)*\Z")
_BLANKS = re.compile(rb"[ \t]+")
_TRAILING = re.compile(rb"[ \t]+(?=\r\n)")


@dataclass(frozen=True, slots=True)
class Signer:
    """A domain's key: its public half stands in the DNS at ``SELECTOR._domainkey.DOMAIN``."""

    domain: str
    selector: str
    key: RSAPrivateKey | Ed25519PrivateKey

    @property
    def algorithm(self) -> str:
        """The ``a=`` tag."""
        return "rsa-sha256" if isinstance(self.key, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, message: bytes, now: datetime) -> bytes:
        """The ``DKIM-Signature`` field, line end included, to be put before the message."""
        head, _, body = message.partition(b"\r\n\r\n")
        found = _fields(head + b"\r\n")
        names = listed(found)
        # Folded by hand, so that no line is longer than 78 characters.
        tags = [
            f"v=1; a={self.algorithm}; c=relaxed/relaxed; t={int(now.timestamp())};",
            f"d={self.domain};",
            f"s={self.selector};",
            *_wrapped("h=", names),
            f"bh={b64encode(hashlib.sha256(relaxed_body(body)).digest()).decode()};",
            "b=",
        ]
        unsigned = "\r\n ".join(tags).encode("ascii")
        data = signed_data(found, names, unsigned)
        coded = b64encode(self._signature(data))
        lines = [coded[at : at + 74] for at in range(0, len(coded), 74)]
        return b"DKIM-Signature: " + unsigned + b"\r\n " + b"\r\n ".join(lines) + b"\r\n"

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(hashlib.sha256(data).digest())  # RFC 8463 §3 signs the hash


def check(domain: str, selector: str) -> None:
    """Raise ``ValueError`` naming the setting when one of them can't stand in a DNS name."""
    if _DOMAIN.match(domain) is None:
        raise ValueError("dkim_domain: must be a domain, such as example.com")
    if _SELECTOR.match(selector) is None:
        raise ValueError("dkim_selector: must be letters, digits, hyphens and dots, such as mail2026")


@lru_cache(maxsize=256)
def load(domain: str, selector: str, key: str) -> Signer:
    r"""A signer from a private key: PEM (RSA or Ed25519), or 32 octets of Ed25519 in base64.

    In PEM ``\n`` may stand for a line end, as in variables of an environment. Raises ``ValueError``,
    which never shows the key. Reading RSA is slow, so what was read is kept.
    """
    check(domain, selector)
    found: object
    try:
        if "-----BEGIN" in key:
            pem = key.replace("\\n", "\n").encode("ascii")
            found = serialization.load_pem_private_key(pem, None)
        else:
            found = Ed25519PrivateKey.from_private_bytes(b64decode(key.strip(), validate=True))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("dkim_key: must be a private key without a password: PEM, or Ed25519 in base64") from None
    if isinstance(found, RSAPrivateKey):
        if found.key_size < LEAST_BITS:
            raise ValueError(f"dkim_key: an RSA key needs at least {LEAST_BITS} bits, better 2048")
        return Signer(domain, selector, found)
    if not isinstance(found, Ed25519PrivateKey):
        raise ValueError("dkim_key: must be an RSA or Ed25519 key")  # noqa: TRY004  # a setting's value is at fault
    return Signer(domain, selector, found)


def listed(found: Mapping[str, bytes]) -> list[str]:
    """The names of the ``h=`` tag, in order: what occurs, then the oversigned once more."""
    return [*(name for name in (*OVERSIGNED, *SIGNED) if name in found), *OVERSIGNED]


def signed_data(found: Mapping[str, bytes], names: Sequence[str], unsigned: bytes) -> bytes:
    """What the signature is of: the listed fields, then the signature's own with an empty ``b=`` (§3.7)."""
    left = dict(found)
    lines = [
        name.encode("ascii") + b":" + relaxed(value) + b"\r\n"
        for name in names
        if (value := left.pop(name, None)) is not None
    ]
    return b"".join(lines) + b"dkim-signature:" + relaxed(unsigned)


def relaxed(value: bytes) -> bytes:
    """The value of a field, unfolded, each run of blanks one space, none at either end (§3.4.2)."""
    return _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")


def relaxed_body(body: bytes) -> bytes:
    """A body with blanks reduced and no empty line at its end (§3.4.4)."""
    if b" " in body or b"\t" in body:
        body = _BLANKS.sub(b" ", _TRAILING.sub(b"", body))
    body = body.rstrip(b"\r\n")
    return body + b"\r\n" if body else b""


def _fields(head: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for line in re.split(rb"\r\n(?![ \t])", head.removesuffix(b"\r\n")):
        name, _, value = line.partition(b":")
        found[name.decode("ascii").strip().lower()] = value
    return found


def _wrapped(start: str, names: Sequence[str]) -> list[str]:
    lines = [start]
    for at, name in enumerate(names):
        piece = name + (";" if at == len(names) - 1 else ":")
        if len(lines[-1]) + len(piece) > 76:
            lines.append("")
        lines[-1] += piece
    return lines
