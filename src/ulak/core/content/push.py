"""What does a push notification say, before any service's own form and limit?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Action:
    """A button: ``name`` is what the app is told, ``title`` what people read, ``url`` where it leads (web only)."""

    name: str
    title: str
    url: str | None = None
    icon: str | None = None


@dataclass(frozen=True, slots=True)
class PushContent:
    """A rendered push notification: plain text, URLs of harmless schemes.

    ``url`` is where a tap leads; ``sound`` is ``default`` or a file of the app, None for none; ``color`` is
    ``#rrggbb`` (Android); ``thread`` groups notifications on the device, ``category`` names a set of actions of the
    app (iOS), ``android_channel`` a notification channel. ``priority`` is ``high``, ``normal``, ``low`` or None for
    that of the class; ``interruption`` Apple's interruption level. Without ``badge`` the app's number is left alone.
    A ``silent`` one wakes the app with ``data`` and shows nothing.
    """

    title: str
    body: str
    subtitle: str | None = None
    url: str | None = None
    icon: str | None = None
    image: str | None = None
    sound: str | None = "default"
    color: str | None = None
    thread: str | None = None
    category: str | None = None
    android_channel: str | None = None
    priority: str | None = None
    interruption: str | None = None
    badge: bool = True
    silent: bool = False
    actions: tuple[Action, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
