"""What does the protocol of the socket look like on paper?

Makes ``spec/socket.md`` from the tables of ``session_commands``; a test compares.
"""

from __future__ import annotations

from ulak.core.session_commands import CLOSE_CODES, COMMANDS, ERRORS, Limits

SERVER = (
    (
        "welcome",
        "connection, user, revision, epoch, full, ping, expires?, ticket?",
        (
            "the answer to `hello`; with `full` the client drops what it holds and is at 0; pings come every `ping` s. "
            "The token ends at `expires` (Unix seconds); `ticket` is good instead of it in the next `hello`"
        ),
    ),
    (
        "items",
        "items, prev, revision, more",
        "all that changed after `prev` up to `revision`, each item whole. New to the client or not: replace by `id`",
    ),
    (
        "changed",
        "items, prev, revision, more",
        "the same for items that this connection holds: `id`, `revision` and the times alone, or `removed`",
    ),
    ("count", "unread, unseen, revision", "how many items, put away or removed ones aside, are unread and unseen"),
    (
        "message",
        "topic, data, at",
        "what was published to a topic that the client has subscribed to; only to who is connected, and never again",
    ),
    ("notice", "data, at", "the same, to every open socket of the tenant"),
    (
        "ok, error",
        "id; id?, code",
        "the answer to a command with an `id`; errors come without, too. `ok` after `refresh`: `expires`, `ticket?`",
    ),
    ("pong", "id?", "the answer to `ping`"),
    ("drain", "retry_after", "this node goes away: reconnect after so many seconds; a close 4000 follows"),
)
"""What the server says: operation, its fields, its meaning."""

_RULES = """
- Endpoint `GET /v1/socket`, subprotocol `ulak.v1`, text frames. A frame holds one JSON object, or an array of them
  (both ways). Each has `op`. A command may carry `id` (an integer or a text); it is echoed in `ok` or `error`.
- The first command is `hello`; its token never goes into the URL. Wait for `welcome` before anything else.
- The client keeps `revision` (of the last `items` or `changed`) and `epoch` (of `welcome`), and says both in the next
  `hello`. It is then told what changed since: new items, and what happened to others on other devices.
- `prev` is always the client's own revision. If it is not, something was lost: close and come back.
- Items are replaced by `id`. An item with `removed` is deleted. Nothing is shown twice.
- Times are RFC 3339 or null: `created_at`, `seen_at`, `read_at`, `archived_at`.
- An `ack` says what has arrived on this connection, and covers no more. Only the ack of an `active` device counts
  for a route's `unless = "delivered"`.
- A server's ping (a control frame) is answered by a pong within 8 s; browsers do so by themselves.
- `message` and `notice` are ephemeral: a client that reads slowly misses them. What must arrive is a notification.
- Breaches of RFC 6455 itself are closed with 1002 (protocol) or 1007 (text that is not UTF-8). No extension is offered.
- The handshake is refused with a problem (JSON): 400 without the subprotocol or a good key, 403 for an origin that is
  not allowed, 404 for another path, 426 for another version or without `Upgrade` (a proxy may have dropped it),
  503 with `Retry-After` when there is no room.
- Close codes 4000-4499 (and 1001, 1006, 1011, 1012): come back, with a growing and random delay. 4500-4999: do not,
  something has to change first.
"""


def page() -> str:
    """The whole page, as Markdown."""
    limits = Limits()
    parts = [
        "# The socket protocol `ulak.v1`",
        "<!-- Made by `python -m tools.reference`; edit src/ulak/core/session_*.py instead. -->",
        _RULES.strip(),
        "## What the client says",
        _table(
            ("op", "fields", "meaning"),
            [(f"`{op}`", ", ".join(f"`{f}`" for f in row.fields), row.meaning) for op, row in COMMANDS.items()],
        ),
        "## What the server says",
        _table(("op", "fields", "meaning"), [(f"`{op}`", fields, meaning) for op, fields, meaning in SERVER]),
        "## Errors",
        _table(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in ERRORS.items()]),
        "## Close codes",
        _table(
            ("code", "name", "come back", "meaning"),
            [(str(c.code), f"`{c.name}`", "yes" if c.reconnect else "no", c.meaning) for c in CLOSE_CODES.values()],
        ),
        "## Limits",
        _table(
            ("what", "limit"),
            [
                ("a message", f"{limits.frame:,} bytes, {limits.commands} commands, {limits.parts} frames"),
                ("`ids` of a command", str(limits.ids)),
                ("commands", f"a burst of {limits.burst}, then {limits.per_second:g} a second"),
                ("pings and pongs", "count as commands"),
                ("topics", f"{limits.topics} a connection, {limits.topics_a_command} a command"),
                ("`meta`", f"{limits.meta:,} bytes"),
                ("time for `hello`", f"{limits.hello_seconds:g} s"),
                ("time without reading", f"{limits.slow_seconds:g} s; nothing is lost"),
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
