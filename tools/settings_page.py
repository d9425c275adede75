"""How are the settings described on paper? Makes ``docs/reference/settings.md`` from ``ulak.settings.Settings``."""

from __future__ import annotations

from dataclasses import fields

from ulak.settings import Settings

_INTRO = """# Settings

<!-- Made by `python -m tools.reference`; edit src/ulak/settings.py instead. -->

A setting is an environment variable, or a key of the `[server]` table of the project's `ulak.toml`. The environment
wins. A few have an option of `ulak serve` or `ulak dev` that wins over both. What may be *sent* is not set here but
declared in the [project folder](project-file.md)."""

OTHERS = {
    "ULAK_URL": "node that `send`, `tail` and `explain` talk to; default `http://127.0.0.1:8080`",
    "ULAK_API_KEY": "API key that `send`, `tail` and `explain` use",
    "ULAK_POSTGRES_BIN": "folder of the embedded PostgreSQL's programs; else the wheel's, else the system's",
    "ULAK_POSTGRES_USER": "account that runs the embedded servers when Ulak runs as root; else one is chosen",
    "ULAK_VALKEY_BIN": "path of `valkey-server` for the embedded Valkey; else that of the wheel",
    "ULAK_PYTHON": "interpreter that `ulak.sh` uses; else the newest of `python3.14` … `python3.11`, `python3`",
    "ULAK_VENV": "where `ulak.sh` keeps its environment; else `.venv` beside it",
}
"""Variables that are no settings of a node, and what reads them."""

_EXAMPLE = """## Example

```toml
# ulak.toml
[server]
port = 9000
pool_size = 20
```

`ULAK_PORT=9001 ulak serve --project .` listens on 9001 all the same. A name in `[server]` that is no setting, or a
value of the wrong kind, is told at start. Accounts name further variables of yours (`password_env = "SMTP_PASSWORD"`):
nodes need those in their environment, and `ulak doctor` says which are missing."""


def page() -> str:
    """The whole page, as Markdown."""
    lines = ["| variable | key in `[server]` | default | what it says |", "| --- | --- | --- | --- |"]
    for field in fields(Settings):
        default = f"`{field.default}`" if field.default not in ("", None) else ""
        text = str(field.metadata["text"]).replace("|", "\\|")
        lines.append(f"| `ULAK_{field.name.upper()}` | `{field.name}` | {default} | {text} |")
    others = ["| variable | what it says |", "| --- | --- |"]
    others += [f"| `{name}` | {text} |" for name, text in OTHERS.items()]
    parts = [_INTRO, "\n".join(lines), _EXAMPLE, "## Variables that are no settings of a node", "\n".join(others)]
    return "\n\n".join(parts) + "\n"
