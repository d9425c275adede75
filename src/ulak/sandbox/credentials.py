"""Which keys do the fake vendors accept, and how do they prove themselves? By these, good for nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from ulak.sandbox.push_keys import PUSH, push_stand_in, read_places

__all__ = ["CREDENTIALS", "PUSH", "push_stand_in", "read_places", "stand_in"]

ACCESS_KEY = "AKIASANDBOX000000000"
SECRET_KEY = "sandbox/secret+key"  # noqa: S105 - the sandbox's
API_KEY = "SG.sandbox"
SERVER_TOKEN = "00000000-0000-4000-8000-5a4db0c5a4db"  # noqa: S105 - the same

TOPIC = "arn:aws:sns:eu-central-1:000000000000:ulak-sandbox"
"""The SNS topic that SES's events come from."""
PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEU6NhbYrOmBaf6HsP18WaJiCFhj"
    "u6N3Y4kQh2SGA/u3frVx1yPGNNuMkO5H6/XWKXqnfA+6/BfrVJWNLIMbiZ7g=="
)
"""SendGrid's verification key, as its settings would show it."""
USER, PASSWORD = "sandbox", "sandbox-posts-as-postmark"
"""What Postmark posts with, unless a callback says otherwise."""

CREDENTIALS: Mapping[str, Mapping[str, str]] = {
    "ses": {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
    "sendgrid": {"api_key": API_KEY},
    "postmark": {"server_token": SERVER_TOKEN},
}
"""By provider: the settings that take the place of an account's own secrets."""


def stand_in(provider: str, url: str) -> Mapping[str, object]:
    """The settings of an account that speaks to the sandbox's vendors at ``url`` and believes their events.

    Empty for a provider that the sandbox does not play.
    """
    events: Mapping[str, Mapping[str, object]] = {
        "ses": {"events_topics": [TOPIC], "events_certificate_host": url.partition("//")[2].rstrip("/")},
        "sendgrid": {"events_public_key": PUBLIC_KEY},
        "postmark": {"events_username": USER, "events_password": PASSWORD},
    }
    if provider not in CREDENTIALS:
        return {}
    return {**CREDENTIALS[provider], "endpoint": url, **events[provider]}
