"""Which secrets seal the links in messages, and under which address do links reach this installation?

The secrets are the installation's, read when the first link is made or opened. A link that was sealed with a secret
that another node made since is no stranger: an unknown key id lets the secrets be read again, once a second at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from ulak.core import link
from ulak.core.link import Click, Link, LinkError, Open, Preferences, Told, Unsubscribe
from ulak.io.postgres.secrets import Purpose, Secrets

CHOICES = "/u/"
TRACKED = "/t/"
MAX_HEADER = 800
"""The longest URL that goes into a header (``core/content/headers``)."""

ROTATE = 365 * 86_400.0
"""Seconds after which a new secret seals; those before open what they sealed for as long as there is Ulak."""

_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Choices:
    """Where the recipient of one message says no. ``one_click`` is None where no header may name it (RFC 8058)."""

    unsubscribe: str
    preferences: str
    one_click: str | None


def check(public_url: str) -> str:
    """The address without a slash at its end, or empty; raises ``ValueError``, which says what is wrong."""
    text = public_url.strip().rstrip("/")
    if not text:
        return ""
    parts = urlsplit(text)
    fine = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment or "@" in text)
    if not fine or not text.isascii() or not text.isprintable() or any(c in text for c in "<>\" '") or len(text) > 200:
        raise ValueError("write it like https://notify.example.com, at most 200 characters, without a query")
    return text


class Linker:
    """Makes and opens links. ``base`` is what ``check`` gave; without one no link is made, and old ones still open."""

    def __init__(
        self, secrets: Secrets, base: str, entropy: Callable[[int], bytes], monotonic: Callable[[], float]
    ) -> None:
        self.base = base
        self._secrets = secrets
        self._entropy = entropy
        self._monotonic = monotonic
        self._held: Mapping[int, bytes] = {}
        self._newest = 0
        self._read_at = float("-inf")

    @property
    def own(self) -> tuple[str, ...]:
        """How the addresses of our links begin."""
        return f"{self.base}{CHOICES}", f"{self.base}{TRACKED}"

    async def ready(self) -> None:
        """Have secrets: call it before links are made. Raises what the database raises."""
        if not self._held:
            await self._secrets.rotate(Purpose.LINK, self._entropy(32), ROTATE)
            await self._read()

    async def open(self, token: str) -> Link:
        """What a link permits; raises ``LinkError``, or what the database raises."""
        await self.ready()
        kid = link.key_of(token)
        if kid not in self._held and self._monotonic() - self._read_at >= _PAUSE:
            await self._read()
        return link.read(token, self._held)

    async def _read(self) -> None:
        self._read_at = self._monotonic()
        held = await self._secrets.all(Purpose.LINK)
        self._held, self._newest = held, max(held, default=0)

    def choices(self, tenant: int, user: str, channel: str, category: str, delivery: UUID) -> Choices | None:
        """Links for one message; None without a base."""
        if not self.base:
            return None
        unsubscribe = self._url(CHOICES, Unsubscribe(tenant, user, channel, category, delivery))
        preferences = self._url(CHOICES, Preferences(tenant, user, delivery))
        if unsubscribe is None or preferences is None:
            return None
        fits = unsubscribe.startswith("https://") and len(unsubscribe) <= MAX_HEADER
        return Choices(unsubscribe, preferences, unsubscribe if fits else None)

    def click(self, tenant: int, delivery: UUID, url: str) -> str | None:
        """A link that leads to ``url`` and tells of it; None where there can be none."""
        return self._url(TRACKED, Click(tenant, delivery, url)) if self.base else None

    def shown(self, tenant: int, delivery: UUID) -> str | None:
        """The address of a picture that tells that a message is shown; None where there can be none."""
        return self._url(TRACKED, Open(tenant, delivery)) if self.base else None

    def receipt(self, tenant: int, delivery: UUID) -> str:
        """What an app shows to tell what became of a push; it knows the address of the API by itself."""
        return link.make(Told(tenant, delivery), self._newest, self._held[self._newest])

    def _url(self, path: str, made: Link) -> str | None:
        try:
            return f"{self.base}{path}{link.make(made, self._newest, self._held[self._newest])}"
        except ValueError:  # too long to be read again
            return None


__all__ = ["Choices", "LinkError", "Linker", "check"]
