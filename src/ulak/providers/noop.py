"""What does a provider do that takes every message and sends none (for benchmarks and dry runs)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome, accepted, outcome
from ulak.providers.contract import Capabilities, Discarded, DiscardRequest, Lost, Message, Phase, Reply, Row

CAPABILITIES = Capabilities(channel=Channel.WEBHOOK, batch=500, content=False)

OUTCOMES: tuple[Row, ...] = (
    Row("discarded", Kind.ACCEPTED, "accepted", "Nothing was sent, as asked."),
    Row("no answer, nothing taken", Kind.RETRY, "noop_lost", "The sender was stopped before it did nothing."),
    Row("no answer, message sent", Kind.UNKNOWN, "noop_lost", "The sender was stopped while it did nothing."),
    Row("any other answer", Kind.NEXT_PROVIDER, "noop_foreign", "The answer is that of another provider."),
)


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` on any setting: there are none."""
    for key in settings:
        raise ValueError(f"{key}: unknown setting; this provider has none")


def build(messages: Sequence[Message], account: Account, now: datetime) -> DiscardRequest:
    """Whatever the messages are, nothing is asked for."""
    del messages, account, now
    return DiscardRequest()


def read(reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
    """Say what the reply meant. Never raises, whatever the reply."""
    del account, now
    if isinstance(reply, Discarded):
        return [accepted()] * len(messages)
    row = OUTCOMES[3]
    if isinstance(reply, Lost):
        row = OUTCOMES[1] if reply.phase is Phase.NOT_SENT else OUTCOMES[2]
    return [outcome(row.kind, row.reason)] * len(messages)
