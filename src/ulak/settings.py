"""With which settings does a node run, and where does each come from?

The environment wins over the ``[server]`` table of ``ulak.toml``, which wins over the default here. The
field is the single place of a setting: its name makes the environment variable (``ULAK_`` and upper
case), its metadata the line in ``docs/reference/settings.md``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


class SettingError(Exception):
    """A setting can't be used; the message names it and says what to write."""


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"text": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of a node."""

    database_url: str = _option("", "PostgreSQL to use; empty: Ulak runs one itself in the data directory")
    data_dir: str = _option("", "where the embedded PostgreSQL lives; default .ulak, or /var/lib/ulak as root")
    project: str = _option("", "project folder (ulak.toml, templates/) to apply at start; empty: what was applied last")
    host: str = _option("127.0.0.1", "address to listen on")
    port: int = _option(8080, "port to listen on; 0: any free one")
    node: str = _option("", "this node's name, unique among nodes; a restarted node of a name takes over at once")
    roles: str = _option("api,gateway,worker", "what this node does")
    processes: int = _option(1, "processes of this node, all on one port; more than one starts an embedded Valkey")
    valkey_url: str = _option("", "Valkey for news, presence and topics between nodes; empty: they stay in the process")
    pool_size: int = _option(12, "connections to PostgreSQL of each process")
    statement_cache: int = _option(200, "prepared statements a connection; 0 behind a transaction-pooling PgBouncer")
    lease_seconds: float = _option(60.0, "how long a batch may take before another node takes over")
    drain_seconds: float = _option(10.0, "how long a stopping node waits for calls and sockets")
    public_url: str = _option(
        "", "https address under which users reach this installation; empty: no links in messages"
    )
    sandbox_smtp: str = _option("", "host:port that every smtp account speaks to instead of its own (`ulak dev`)")
    sandbox_vendors: str = _option("", "URL that the vendors' accounts speak to beside sandbox_smtp (`ulak dev`)")
    sandbox_push: str = _option("", "where the push accounts speak to beside sandbox_smtp, as JSON (`ulak dev`)")
    failpoints: str = _option("", "for tests: name:count, dies by SIGKILL when that line is passed")
    allow_networks: str = _option("", "networks that user-given URLs may reach although the guard forbids them")
    allow_origins: str = _option("", "origins of pages that may call /v1/me and open sockets; empty: sockets for any")
    trusted_proxies: str = _option("", "networks of proxies whose X-Forwarded-For tells a socket's address")
    sockets: int = _option(50_000, "most open sockets of a process; 0: any number")
    sockets_per_user: int = _option(100, "most open sockets of one user on a process; 0: any number")
    sockets_per_address: int = _option(0, "most open sockets of one address on a process; 0: any number")
    sockets_per_second: float = _option(2_000.0, "new sockets a second of a process, after a burst of 5 seconds' worth")
    sockets_per_address_per_second: float = _option(0.0, "the same of one address; 0: any number")
    access_log: str = _option("off", "on: a line for each request, with its route and never its path")
    log_level: str = _option("info", "debug, info, warning or error")

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None, server: Mapping[str, Any] | None = None) -> Settings:
        """Take each setting from the environment, else the ``[server]`` table, else its default."""
        environment = os.environ if environment is None else environment
        known = {f.name: f for f in fields(cls)}
        for name in server or {}:
            if name not in known:
                raise SettingError(f"ulak.toml: server.{name} is no setting; there are: {', '.join(known)}")
        values: dict[str, Any] = {}
        for name, entry in known.items():
            variable = f"ULAK_{name.upper()}"
            if variable in environment:
                values[name] = _typed(variable, environment[variable], entry.default)
            elif server and name in server:
                values[name] = _typed(f"server.{name}", server[name], entry.default)
        return cls(**values)

    @property
    def role_set(self) -> frozenset[str]:
        """The roles, checked."""
        roles = frozenset(part.strip() for part in self.roles.split(",") if part.strip())
        if not roles or not roles <= {"api", "gateway", "worker"}:
            raise SettingError(f"ULAK_ROLES={self.roles}: write some of api,gateway,worker")
        return roles

    @property
    def data_path(self) -> Path:
        """The data directory in force."""
        if self.data_dir:
            return Path(self.data_dir)
        return Path("/var/lib/ulak") if os.getuid() == 0 else Path(".ulak")


def _typed(name: str, value: object, default: object) -> object:
    kind = type(default)
    try:
        if kind is not str:
            return kind(value)  # type: ignore[call-arg]  # int and float take one
        if isinstance(value, str):
            return value
    except (TypeError, ValueError):
        pass  # told below
    noun = {int: "a whole number", float: "a number"}.get(kind, "a text")
    raise SettingError(f"{name}={value!r} must be {noun}, such as {default!r}")
