"""What does the docs' page on outcomes say? It is made from the tables that the code itself follows."""

from __future__ import annotations

from collections.abc import Mapping

from ulak.core.outcome import BLAME, Kind
from ulak.providers.contract import Provider, Row

_HEAD = """\
# What a provider's answer means

Made from the code by `python -m ulak.providers.reference`; do not edit.

Every call of a provider ends in one of these outcomes. Rows are read from the top, the first that fits
wins, and an answer that no row knows is a failure.

"""

_MEANING: Mapping[Kind, str] = {
    Kind.ACCEPTED: "The provider took the message and answers for it.",
    Kind.THROTTLED: "Too fast: wait, then the same account again. Uses up no attempt.",
    Kind.RETRY: "A passing fault; nothing was taken. Tried again by the ladder of its class.",
    Kind.UNKNOWN: "Sent, but no answer came: it may or may not have been taken. Reconciled, then by policy.",
    Kind.NEXT_PROVIDER: "This account is unusable; the message is fine. Another account may take over.",
    Kind.RECIPIENT_PERMANENT: "The address is dead. It is suppressed; no other account is tried.",
    Kind.RECIPIENT_TEMPORARY: "The address refuses for now. Tried again, never suppressed.",
    Kind.PAYLOAD_ERROR: "This message can never be taken. It is parked for a person to look at.",
    Kind.POLICY_BLOCK: "Refused for content, reputation or our own DNS. Never suppressed.",
}


def render(providers: Mapping[str, Provider]) -> str:
    """The page as Markdown."""
    lines = ["| outcome | to blame | meaning |", "|---|---|---|"]
    lines += [f"| `{kind}` | {BLAME[kind] or 'nobody'} | {_MEANING[kind]} |" for kind in Kind]
    for name, provider in sorted(providers.items()):
        rows = (*provider.OUTCOMES, *getattr(provider, "UNREADABLE", ()), *getattr(provider, "LOOKUP", ()))
        lines += ["", f"## {name}", "", "| answer | outcome | reason | why |", "|---|---|---|---|"]
        lines += [_line(row) for row in rows]
    return _HEAD + "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    return f"| {row.answer} | `{row.kind}` | `{row.reason}` | {row.sentence} |"


if __name__ == "__main__":
    import sys

    from ulak.providers.registry import PROVIDERS

    sys.stdout.write(render(PROVIDERS))
