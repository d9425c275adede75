"""Which keys do the fake push services believe, and so which settings take the place of an account's own?

They are written down here for everybody to read, and open nothing but the sandbox.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

TEAM = "SANDBOX001"
KEY_ID = "SANDBOXKEY"
PROJECT = "ulak-sandbox"
CLIENT_EMAIL = "sender@ulak-sandbox.invalid"
SERVICE_KEY_ID = "5a4db0c5a4db0c5a4db0c5a4db0c5a4db0c5a4db"
SUBJECT = "mailto:sandbox@ulak.invalid"

APNS_SCALAR = 0x5A4DB0C50001
"""The private key of APNs is this number on P-256, that of the application server the next."""
VAPID_SCALAR = 0x5A4DB0C50002

PUSH = ("apns", "fcm", "webpush")
"""Providers that the sandbox plays beside those of email."""

_RSA = """
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDNHbXRtKssnWLy
OQHIsqwNMCtV+48RAUwFq4j38IUlkydZu6LFb3JN4IBQ+HrDthshvt4nF917QmdD
0b5YAhmNyHQk2SlKZ3jXc6wWMpmHEApep1epQ/ZizmkXCyT9RaeKKeiY6DrMU8qc
6VCd/U5q0CE8zXC06fl9zShwrk373whXITC4kG1WO3i5V1/TgdPH5MUmhPJcgcab
exDiwmtlNOD22o0KWZiGR3APB1PRsAud2qhBsveBlRtAuhSkzt/5li77/YOaTTB1
uCPwMCNwOHvz/W1RvMtiKXq9j74eR+PyBhvyhouLSc0oH0CfiPyee7XSAztLrpRs
+WDApZb5AgMBAAECggEABRux7x2q3Cb0w3/GMrl5ZbAvChqEVPn1atg7ZmJV7IpC
Qv60ZmqYvAYE6A9SHlzjBtd+KJbUcBkGoZagAQjXWlO1ScQjPjw+sw3pSZm7v1R3
z6Tm/tsHkC0gCp//TTPugNc7mNBCw5ssGvWICZE5Alm51C3xGj5P9XE2Kj07CbRY
LGefQmK6mTEFDElOpliNZT/fGT4zZSbTYGbjxqtvE2g3KGsu8hIF5972UJEvMA6+
0Hl/I/K5cxTuGbD5nrxDZ8nDxZllsR8UIJHNng8QdBEeayBqzieAK3UinU1FrFhL
m7fXPRWVUXGzVwDja/G+o2I2Z8ykpTtASjRbYxmGkQKBgQD02CD0if4bnIWxNtNz
f19kiwrF4vERaOkYLwDc0UtPB3sVz70BrI9xXmhVQEKV9GQxVt+vOsIv0aD0v8Pg
rZn9lhM0Vj2TUgS7Awi8mvD7T2NPlw4Pr4YyENVf78qxavZeNK0iDedtcdoht+qd
/AuzjDXgW9tzqz4M+GNK+v+PKQKBgQDWdjDGNZesnQHpk6yJtE+l6WJ7KHlUZbC2
26SLdscL6/aaLLpllZgfDisv+lqDhGlhWZ3OFAoHiU8TXlg+o0A74jNjNbZTNok9
BG4Vz9YVnnBwLpyFIRO/LyBfM1kt7ziDFzYfc3FGDYM7Qg5CAW++fkSwxrXRGL2e
L6WeVkdTUQKBgDR6qr2fYi7K4sD0LmhgEbM8NifqF5+Sq/t5/6ZU2d5rjQ9Ewo88
TFaRVK2JI3x+sIb+xt0JLBwRw30SKUrcCtiWtTEPlw0flFH9OX8reqFzB6dEikgE
aDAM+Z8hh4F1mq7gfYeCEWuc7pMxl4EbR+rJD7cyGRx2xMsE5kto9yPZAoGBAK85
1HIumaXMhyJ8qS2+KJGr1e5AzJl7mN5fKdtVih6ghlXEE+wqRSeioQDLcichCiUj
Xr9hOiycMQLnQ/yx0CrdkBUQbs8gsRMsynGB5i61zLKsMvDHbOX5sF54ivXwDmF1
lqAt57BQHBhPyWx+1fl0G9XAFhApQcy8q3pqjk5xAoGBAIuoPhcv/3Bf0Hti9cah
LG6mblyOE161dtNNiTIFREajXpausrKKZrTf6ekZeH+yEj92UBbgGY09Znl4RKkD
US111UhuZx+jGp7QXaDaVMGFtqqYCXSvrthoDA3s/nzwrD8N713aKIWxiK4EiBP/
QREhGnAf4dSHq08lZyOdMkff
"""


def apns_key() -> ec.EllipticCurvePrivateKey:
    """What signs provider tokens."""
    return ec.derive_private_key(APNS_SCALAR, ec.SECP256R1())


def vapid_key() -> ec.EllipticCurvePrivateKey:
    """What signs as the application server."""
    return ec.derive_private_key(VAPID_SCALAR, ec.SECP256R1())


def point(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half as browsers have it: 65 octets in base64url without padding."""
    octets = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


@cache
def p8() -> str:
    """APNs' private key as Apple hands it out."""
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return apns_key().private_bytes(*pem).decode("ascii")


def service_account_key() -> str:
    """The private key of Firebase's service account, in PEM."""
    return f"-----BEGIN PRIVATE KEY-----{_RSA}-----END PRIVATE KEY-----\n"


@cache
def service_account_public() -> RSAPublicKey:
    """The public half, read once: the private one is looked at closely, which takes a tenth of a second."""
    key = serialization.load_pem_private_key(service_account_key().encode(), None).public_key()
    assert isinstance(key, RSAPublicKey)
    return key


def service_account() -> str:
    """Firebase's service account as its console writes it."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": SERVICE_KEY_ID,
            "private_key": service_account_key(),
            "client_email": CLIENT_EMAIL,
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )


def read_places(text: str) -> Mapping[str, str]:
    """Where the services answer, from ``ULAK_SANDBOX_PUSH``; raises ``ValueError`` for what is not such an object."""
    return msgspec.json.decode(text, type=dict[str, str])


def push_stand_in(provider: str, places: Mapping[str, str]) -> Mapping[str, object]:
    """The settings of an account that speaks to the sandbox's push services at ``places``.

    ``places`` is what the sandbox says when it is ready: ``apns``, ``apns_sandbox``, ``fcm``, ``webpush`` (URLs) and
    ``ca`` (a file). Empty for a provider that the sandbox does not play; raises ``KeyError`` for a place not told.
    """
    match provider:
        case "apns":
            return {
                "team_id": TEAM,
                "key_id": KEY_ID,
                "private_key": p8(),
                "endpoint": places["apns"],
                "endpoint_sandbox": places["apns_sandbox"],
                "ca_file": places["ca"],
            }
        case "fcm":
            return {
                "service_account": service_account(),
                "project": PROJECT,
                "endpoint": places["fcm"],
                "token_endpoint": places["fcm"],
                "ca_file": places["ca"],
            }
        case "webpush":
            private = VAPID_SCALAR.to_bytes(32, "big")
            return {
                "subject": SUBJECT,
                "private_key": urlsafe_b64encode(private).rstrip(b"=").decode("ascii"),
                "public_key": point(vapid_key()),
                "hosts": [places["webpush"].partition("//")[2]],
                "only_hosts": True,  # somebody may hand in a real browser's subscription
                "ca_file": places["ca"],
            }
        case _:
            return {}
