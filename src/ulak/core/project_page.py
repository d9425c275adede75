"""How is ``ulak.toml`` described on paper?

Makes ``docs/reference/project-file.md`` from the tables of ``project`` and ``template_files``; a test
compares.
"""

from __future__ import annotations

from collections.abc import Iterable

from ulak.core import issuer, project, template_files
from ulak.core.fields import Field

_INTRO = """# The project folder

<!-- Made by `python -m tools.reference`; edit src/ulak/core/project.py instead. -->

A project folder declares what may be sent: an `ulak.toml` and templates. It is read at start and by
`ulak apply`; every mistake is reported at once, with the file, the key and what to do. Unknown keys are refused.

```
ulak.toml
templates/<template>/<channel>[.<locale>].<ending>     such as templates/welcome/email.tr.md
```

Durations are text with a unit (`"30s"`, `"10m"`, `"24h"`, `"7d"`) or a plain number of seconds. Names start with a
letter and hold letters, digits, `_`, `-` and `.`. Secrets never stand in the file: write `password_env = "NAME"`, and
Ulak reads the environment variable `NAME` at start."""

_TYPES = """A type is a kind of event that callers name in `POST /v1/notifications`. Its `route` lists steps; each
is a table with the keys below. A step may wait (`after`, counted from acceptance) and may be dropped when the user did
something with an earlier step (`unless`). The first step can't have `unless`, a channel comes once in a route, and a
wait must be shorter than the life of the notification."""

_ACCOUNTS = """An account is one set of credentials of a provider. Other keys than these belong to the provider (for
`smtp`: `host`, `port`, `username`, `password_env`, `tls` …) and are checked by it at start. Several accounts of
a channel share the work and stand in for one another: [how-to](../how-to/failover.md)."""


_ISSUERS = """An issuer is an identity provider whose tokens are believed for this tenant's users:
[how-to](../how-to/tokens.md). One of `jwks_url` and `public_key` is needed. Keys that are private, or weaker than RSA
of 2,048 bits, are left out."""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_INTRO, "## `[email]`", _table(project.EMAIL_FIELDS), "## `[locales]`", _table(project.LOCALES_FIELDS)]
    parts += ["## `[accounts.NAME]`", _ACCOUNTS, _table(project.ACCOUNT_FIELDS)]
    parts += ["## `[issuers.NAME]`", _ISSUERS, _table(issuer.ISSUER_FIELDS)]
    parts += [
        "## `[types.NAME]`",
        _TYPES,
        _table(project.TYPE_FIELDS),
        "### Steps of a route",
        _table(project.STEP_FIELDS),
    ]
    parts += ["## Front matter of templates", "How to write templates: [how-to](../how-to/templates.md)."]
    for channel, rows in template_files.FRONT.items():
        endings = ", ".join(f"`.{ending}`" for ending in template_files.KINDS[channel])
        parts += [f"### `{channel}` ({endings})", _table(rows)]
    return "\n\n".join(parts) + "\n"


def _table(rows: Iterable[Field]) -> str:
    lines = ["| key | needed | default | example | what it says |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        default = (
            ""
            if row.default in (None, [])
            else f"`{row.default:g}`"
            if isinstance(row.default, float)
            else f"`{row.default}`"
        )
        shown = f"`{row.key} = {row.shown}`" if row.shown else ""
        lines.append(f"| `{row.key}` | {'yes' if row.required else ''} | {default} | {shown} | {row.doc} |")
    return "\n".join(lines)
