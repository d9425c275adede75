"""Which words does the server's side of ``ulak.v1`` say?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ulak.core.inbox import Item, News, full_text, state_text
from ulak.core.session_actions import Send

Run = tuple[str, list[str], int]
"""Operation, items as JSON, and the revision that they reach."""


def cut(news: Sequence[Item], synced: int, chunk: int) -> tuple[list[Run], bool]:
    """Cut into runs of one kind, in order of revision; False when they end early, at about ``chunk`` bytes in all.

    Items born up to the revision ``synced`` are known to the client, which is told their state alone.
    """
    runs: list[Run] = []
    size = 0
    for item in news:
        op = "changed" if item.born <= synced else "items"
        text = state_text(item) if op == "changed" else full_text(item)
        size += len(text) if text.isascii() else len(text.encode())
        if runs and size > chunk:
            return runs, False
        if runs and runs[-1][0] == op:
            runs[-1][1].append(text)
            runs[-1] = (op, runs[-1][1], item.revision)
        else:
            runs.append((op, [text], item.revision))
    return runs, True


def live_texts(news: News) -> tuple[str, str]:
    """What every client that stands just before these news is sent: the item, and the counts."""
    revision = news.revision
    return (
        f'{{"op":"items","items":[{news.item}],"prev":{revision - 1},"revision":{revision},"more":false}}',
        f'{{"op":"count","unread":{news.unread},"unseen":{news.unseen},"revision":{revision}}}',
    )


def frame(op: str, members: Mapping[str, object]) -> Send:
    """One object."""
    return Send(json.dumps({"op": op, **members}, ensure_ascii=False, separators=(",", ":")))


def error(command: int | str | None, code: str) -> Send:
    """The answer to a command that can't be carried out."""
    return frame("error", {"code": code} if command is None else {"id": command, "code": code})
