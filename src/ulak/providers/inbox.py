"""How does a later step of a route reach the user's own inbox?

A step that is due at once needs no provider: the commit of its plan is the delivery. One with ``after``
waits in the queue like any other and comes here. Storing an item twice changes nothing, so an answer
that never came is simply asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ulak.core.content.email import ContentError
from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome, accepted, outcome
from ulak.providers.contract import (
    Capabilities,
    InboxContent,
    InboxRequest,
    Lost,
    Message,
    Reply,
    Row,
    Stored,
)

CAPABILITIES = Capabilities(channel=Channel.IN_APP, batch=100, idempotent=True)

OUTCOMES: tuple[Row, ...] = (
    Row("stored", Kind.ACCEPTED, "accepted", "The item is in the inbox."),
    Row("no answer", Kind.RETRY, "database_lost", "Storing again is harmless, so it is stored again."),
    Row("any other answer", Kind.NEXT_PROVIDER, "inbox_foreign", "The answer is that of another provider."),
)


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` on any setting: there are none."""
    for key in settings:
        raise ValueError(f"{key}: unknown setting; this provider has none")


def build(messages: Sequence[Message], account: Account, now: datetime) -> InboxRequest:
    """Ask for the items to be stored together."""
    del account, now
    items = []
    for message in messages:
        if not isinstance(message.content, InboxContent):
            raise ContentError("not_an_item", "an inbox takes inbox items only")
        items.append((message.tenant, message.delivery, message.content))
    return InboxRequest(tuple(items))


def read(reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
    """Say what the reply meant. Never raises, whatever the reply."""
    del account, now
    if isinstance(reply, Stored):
        return [accepted()] * len(messages)
    row = OUTCOMES[1] if isinstance(reply, Lost) else OUTCOMES[2]
    return [outcome(row.kind, row.reason)] * len(messages)
