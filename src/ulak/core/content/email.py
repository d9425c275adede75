"""What is a rendered email before it becomes bytes, and how is one that can never become bytes told?"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EmailContent:
    """A rendered email. ``headers`` are extra header fields, checked by the MIME builder."""

    sender: str
    subject: str
    text: str
    html: str | None = None
    reply_to: str | None = None
    language: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


class ContentError(ValueError):
    """This content can never be sent, whoever tries; ``reason`` is a short stable word, ``detail`` for people.

    ``detail`` names the field and never its value, which may be personal.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
