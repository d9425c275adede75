"""Which providers are there? One line each, written by hand: nothing is scanned or loaded by magic."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ulak.providers import inbox, noop
from ulak.providers.contract import Events, Provider, Reactivates
from ulak.providers.email import (
    postmark,
    postmark_events,
    sendgrid,
    sendgrid_events,
    ses,
    ses_events,
    smtp,
    smtp_events,
)
from ulak.providers.push import apns, fcm, webpush

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        "apns": apns,
        "fcm": fcm,
        "inbox": inbox,
        "noop": noop,
        "postmark": postmark,
        "sendgrid": sendgrid,
        "ses": ses,
        "smtp": smtp,
        "webpush": webpush,
    }
)
"""A provider's name in ``ulak.toml`` to its module."""

EVENTS: Mapping[str, Events] = MappingProxyType(
    {
        "postmark": postmark_events,
        "sendgrid": sendgrid_events,
        "ses": ses_events,
        "smtp": smtp_events,
    }
)
"""Of those, the ones that say later what became of a message, by callbacks."""

REACTIVATES: Mapping[str, Reactivates] = MappingProxyType({"postmark": postmark, "sendgrid": sendgrid, "ses": ses})
"""Of those, the ones whose vendor keeps a list that an address can be taken off."""

PREFIX = "events_"
"""How the settings of an account begin that concern its callbacks."""


def check(provider: str, settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's settings are unusable; ``provider`` is in ``PROVIDERS``."""
    PROVIDERS[provider].check({key: value for key, value in settings.items() if not key.startswith(PREFIX)})
    about_events = {key: value for key, value in settings.items() if key.startswith(PREFIX)}
    if not about_events:
        return
    if provider not in EVENTS:
        raise ValueError(f"{next(iter(about_events))}: {provider} takes no callbacks")
    EVENTS[provider].check(about_events)
