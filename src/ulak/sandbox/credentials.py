"""Which keys do the fake vendors accept? These, which are good for nothing else."""

from __future__ import annotations

from collections.abc import Mapping

ACCESS_KEY = "AKIASANDBOX000000000"
SECRET_KEY = "sandbox/secret+key"  # noqa: S105 - the sandbox's
API_KEY = "SG.sandbox"
SERVER_TOKEN = "00000000-0000-4000-8000-5a4db0c5a4db"  # noqa: S105 - the same

CREDENTIALS: Mapping[str, Mapping[str, str]] = {
    "ses": {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
    "sendgrid": {"api_key": API_KEY},
    "postmark": {"server_token": SERVER_TOKEN},
}
"""By provider: the settings that take the place of an account's own secrets."""
