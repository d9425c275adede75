"""Which providers are there? One line each, written by hand: nothing is scanned or loaded by magic."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ulak.providers import inbox, noop
from ulak.providers.contract import Provider
from ulak.providers.email import postmark, sendgrid, ses, smtp

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        "inbox": inbox,
        "noop": noop,
        "postmark": postmark,
        "sendgrid": sendgrid,
        "ses": ses,
        "smtp": smtp,
    }
)
"""A provider's name in ``ulak.toml`` to its module."""
