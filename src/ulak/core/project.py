"""What does a project folder declare, and is every word of it usable?

``load`` reads ``ulak.toml`` and the templates from texts (I/O reads the files) and either returns a
frozen ``Catalog`` or raises ``ProjectError`` with *every* mistake: file, key, what is wrong, what to do.
Secrets never stand in a catalogue: accounts name environment variables (``password_env``), which are
resolved where things are wired.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

from ulak.core import fields, issuer, locale, template_files
from ulak.core.fields import Field, Problem, did_you_mean
from ulak.core.issuer import Issuer
from ulak.core.model import Account, Channel, Class, Mark, NotificationType, Step
from ulak.core.template_files import KINDS, STANDS_IN, Template

MAIN = "ulak.toml"
LIFE: Mapping[Class, float] = {Class.CRITICAL: 300.0, Class.TRANSACTIONAL: 86400.0, Class.MARKETING: 14400.0}
"""Seconds until a notification expires when neither the request nor its type says so."""


def _environment_name(value: object) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", value) is None:
        raise ValueError("must be the name of an environment variable")
    return value


def _address(value: object) -> str:
    written = fields.text(value)
    if re.fullmatch(r"[^<>@]*<[^<>@\s]+@[^<>@\s]+>|[^<>@\s,;]+@[^<>@\s,;]+", written) is None:
        raise ValueError('must be one address, such as "Octo <octo@example.com>"')
    return written


def _locale(value: object) -> str:
    known = locale.canonical(value) if isinstance(value, str) else None
    if known is None:
        raise ValueError('must be a language tag such as "en" or "pt-BR"')
    return known


def _timezone(value: object) -> str:
    try:
        return ZoneInfo(fields.text(value)).key
    except (OSError, ValueError, LookupError):
        raise ValueError('must be the name of a time zone such as "Europe/Istanbul"') from None


def _tracked(value: object) -> list[str]:
    if not isinstance(value, list) or any(each not in ("opens", "clicks") for each in value):
        raise ValueError('must list "opens", "clicks" or both')
    return value


def _listed(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError('must list at least one step, such as [{ channel = "in_app" }]')
    return value


EMAIL_FIELDS = (
    Field("from", _address, "sender of every email whose template names no other", shown='"Octo <octo@example.com>"'),
    Field("reply_to", _address, "where answers go", shown='"help@example.com"'),
    Field("layout", fields.name, "page from templates/_layouts around every Markdown email", shown='"base"'),
)
LOCALES_FIELDS = (
    Field("default", _locale, "language of last resort", default="en", shown='"en"'),
    Field("timezone", _timezone, "time zone of users who have none", default="UTC", shown='"Europe/Istanbul"'),
)
ACCOUNT_FIELDS = (
    Field("channel", fields.one_of(c.value for c in Channel), "what it sends", required=True, shown='"email"'),
    Field("provider", fields.name, "whose translator speaks to it", required=True, shown='"smtp"'),
    Field("concurrency", fields.whole(1, 1000), "most calls at a time on one node", default=8, shown="8"),
    Field("timeout", fields.between(0.1, 300), "longest that one call may take", default=30.0, shown='"30s"'),
    Field(
        "reconcile_after",
        fields.between(0.1, 86400),
        "how long an unanswered call waits for proof before the class decides",
        default=60.0,
        shown='"60s"',
    ),
    Field("priority", fields.whole(1, 100), "accounts of a channel are tried by it, 1 first", default=1, shown="1"),
    Field(
        "weight",
        fields.whole(1, 1000),
        "its share of the work among accounts of the same priority",
        default=1,
        shown="1",
    ),
)
TYPE_FIELDS = (
    Field("category", fields.name, "what a user opts out of", required=True, shown='"orders"'),
    Field(
        "class",
        fields.one_of(c.value for c in Class),
        "how much it matters: lane, retries, life",
        required=True,
        shown='"transactional"',
    ),
    Field("route", _listed, "the steps, in order", required=True, default=[], shown='[{ channel = "in_app" }]'),
    Field("template", fields.name, "folder below templates/; the type's own name by default", shown='"activity"'),
    Field(
        "expires",
        fields.between(1, fields.MAX_DURATION),
        "life of a notification; by default 5m (critical), 24h (transactional), 4h (marketing)",
        shown='"24h"',
    ),
    Field(
        "on_unknown",
        fields.one_of(("resend", "resend_elsewhere", "stop")),
        "what becomes of a send whose answer never came: sent again by the same account, by another one, or not; "
        "by default stop for marketing, else resend",
        shown='"resend"',
    ),
    Field(
        "track",
        _tracked,
        "what to note of its emails, by links of our own: opens, clicks, or both; nothing by default",
        default=[],
        shown='["clicks"]',
    ),
)
STEP_FIELDS = (
    Field("channel", fields.one_of(c.value for c in Channel), "the way to the user", required=True, shown='"email"'),
    Field("after", fields.duration, "wait this long after acceptance", default=0.0, shown='"10m"'),
    Field(
        "unless",
        fields.one_of(m.name.lower() for m in Mark if m.name),
        "skip the step when the user did this on an earlier one",
        shown='"read"',
    ),
)
TOP = ("email", "locales", "accounts", "types", "issuers", "server")
"""Tables of ``ulak.toml``; ``server`` is read by the settings, not here."""


class ProjectError(Exception):
    """The project folder can't be used; ``problems`` names every mistake."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


@dataclass(frozen=True, slots=True)
class EmailDefaults:
    """``[email]``: what templates fall back on."""

    sender: str | None = None
    reply_to: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """A usable project folder. ``version`` is 0 until it is stored; ``files`` is what it was read from."""

    digest: str
    types: Mapping[str, NotificationType]
    accounts: Mapping[str, Account]
    templates: Mapping[tuple[str, Channel, str], Template]
    email: EmailDefaults = EmailDefaults()
    default_locale: str = "en"
    timezone: str = "UTC"
    files: Mapping[str, str] = field(default_factory=dict)
    version: int = 0
    issuers: Mapping[str, Issuer] = field(default_factory=dict)

    def with_version(self, version: int) -> Catalog:
        """The same catalogue under the number that it was stored as."""
        return replace(self, version=version)

    def type(self, name: str) -> NotificationType | None:
        """The declared type of this name, if any."""
        return self.types.get(name)

    def accounts_for(self, channel: Channel | str) -> tuple[Account, ...]:
        """Accounts that send on a channel, in the order of the file."""
        return tuple(account for account in self.accounts.values() if account.channel == channel)

    def template(self, name: str, channel: Channel, tag: str | None) -> Template | None:
        """The template for a locale, or the nearest that stands in for it; without any, that of a channel like it."""
        for candidate in locale.chain(tag, self.default_locale):
            found = self.templates.get((name, channel, candidate))
            if found is not None:
                return found
        other = STANDS_IN.get(channel)
        return None if other is None else self.template(name, other, tag)


def digest(files: Mapping[str, str]) -> str:
    """SHA-256 over names and texts in order of name; the identity of a folder's content."""
    state = hashlib.sha256()
    for name in sorted(files):
        for part in (name, files[name]):
            data = part.encode("utf-8", "surrogatepass")
            state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()


def load(files: Mapping[str, str]) -> Catalog:
    """Read a project folder given as {relative name: text}; raise ``ProjectError`` with all its mistakes."""
    problems: list[Problem] = []
    main = _toml(files, problems)
    for key in main:
        if key not in TOP:
            hint = did_you_mean(key, TOP).removeprefix("; ") or f"known tables: {', '.join(TOP[:-1])}"
            problems.append(Problem(MAIN, key, "unknown table", hint))
    email = fields.read(main.get("email", {}), EMAIL_FIELDS, MAIN, "email", problems)
    locales = fields.read(main.get("locales", {}), LOCALES_FIELDS, MAIN, "locales", problems)
    accounts = {name: _account(name, table, problems) for name, table in _named(main, "accounts", problems)}
    types = {name: _type(name, table, problems) for name, table in _named(main, "types", problems)}
    issuers = {name: issuer.read(name, table, MAIN, problems) for name, table in _named(main, "issuers", problems)}
    believed = {name: value for name, value in issuers.items() if value is not None}
    issuer.check_apart(list(believed.values()), MAIN, problems)
    templates = template_files.read(files, problems, layout=email["layout"], default_locale=locales["default"])
    catalog = Catalog(
        digest(files),
        {name: value for name, value in types.items() if value is not None},
        {name: value for name, value in accounts.items() if value is not None},
        templates,
        EmailDefaults(email["from"], email["reply_to"]),
        locales["default"],
        locales["timezone"],
        dict(files),
        issuers=believed,
    )
    _check_templates(catalog, problems)
    _check_marketing(catalog, problems)
    if problems:
        raise ProjectError(tuple(problems))
    return catalog


def _toml(files: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    if MAIN not in files:
        problems.append(Problem(MAIN, "", "is missing", "a project folder has an ulak.toml with [types.NAME] tables"))
        return {}
    try:
        return tomllib.loads(files[MAIN])
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(
            Problem(MAIN, "", f"is not valid TOML: {error}", "mend this line first; the rest is read after")
        )
        return {}


def _named(main: Mapping[str, Any], key: str, problems: list[Problem]) -> list[tuple[str, object]]:
    tables = main.get(key, {})
    if not isinstance(tables, Mapping):
        problems.append(Problem(MAIN, key, "must be a table of tables", f"write [{key}.NAME]"))
        return []
    for each in tables:
        try:
            fields.name(each)
        except ValueError as error:
            problems.append(Problem(MAIN, f"{key}.{each}", str(error)))
    return list(tables.items())


_SECRET = re.compile(
    r"(?:^|_)(?:password|passwd|secret|token|(?:api|private|secret|auth|dkim)_?key|credentials?|service_account)\Z",
    re.IGNORECASE,
)


def _account(name: str, table: object, problems: list[Problem]) -> Account | None:
    path = f"accounts.{name}"
    before = len(problems)
    values = fields.read(table, ACCOUNT_FIELDS, MAIN, path, problems, more=True)
    settings = {key: values[key] for key in values if all(key != known.key for known in ACCOUNT_FIELDS)}
    for key, value in settings.items():
        if _SECRET.search(key):
            hint = f'write {key}_env = "NAME" and set that environment variable'
            problems.append(Problem(MAIN, f"{path}.{key}", "secrets don't belong into this file", hint))
        if key.endswith("_env"):
            try:
                _environment_name(value)
            except ValueError as error:
                problems.append(Problem(MAIN, f"{path}.{key}", str(error)))
    if len(problems) > before:
        return None
    limits = (values["concurrency"], values["timeout"], values["reconcile_after"])
    place = (values["priority"], float(values["weight"]))
    return Account(name, values["provider"], Channel(values["channel"]), *limits, settings, *place)


def _type(name: str, table: object, problems: list[Problem]) -> NotificationType | None:
    path = f"types.{name}"
    before = len(problems)
    values = fields.read(table, TYPE_FIELDS, MAIN, path, problems)
    rows = enumerate(values["route"])
    steps = [_step(f"{path}.route[{at}]", row, at, problems) for at, row in rows]
    if len(problems) > before:
        return None
    klass = Class(values["class"])
    expires = LIFE[klass] if values["expires"] is None else values["expires"]
    _check_route(path, steps, expires, problems)
    on_unknown = values["on_unknown"] or ("stop" if klass is Class.MARKETING else "resend")
    folder = values["template"] or name
    return NotificationType(
        name, values["category"], klass, tuple(steps), folder, expires, on_unknown, frozenset(values["track"])
    )


def _step(path: str, row: object, at: int, problems: list[Problem]) -> Step:
    values = fields.read(row, STEP_FIELDS, MAIN, path, problems)
    if at == 0 and values["unless"] is not None:
        hint = "nothing was shown before the first step; remove it"
        problems.append(Problem(MAIN, f"{path}.unless", "the first step can't have it", hint))
    mark = Mark[values["unless"].upper()] if values["unless"] else Mark.NONE
    return Step(Channel(values["channel"] or Channel.IN_APP), values["after"], mark)


def _check_route(path: str, steps: list[Step], expires: float, problems: list[Problem]) -> None:
    seen: set[Channel] = set()
    for at, step in enumerate(steps):
        where = f"{path}.route[{at}]"
        if step.channel in seen:
            hint = "a route names each channel once"
            problems.append(Problem(MAIN, f"{where}.channel", f"{step.channel} comes twice", hint))
        seen.add(step.channel)
        if step.after >= expires:
            hint = f"the notification expires after {expires:g} seconds; set expires or a shorter wait"
            problems.append(Problem(MAIN, f"{where}.after", "this step would never run", hint))


def _check_marketing(catalog: Catalog, problems: list[Problem]) -> None:
    """Who unsubscribes from marketing by a link must not silence what is critical (``core/choice``)."""
    urgent = {kind.category: kind.name for kind in catalog.types.values() if kind.klass is Class.CRITICAL}
    for kind in catalog.types.values():
        if kind.klass is Class.MARKETING and kind.category in urgent:
            where = f"types.{kind.name}.category"
            wrong = f"is that of the critical type '{urgent[kind.category]}'"
            problems.append(Problem(MAIN, where, wrong, "give marketing a category of its own, to be refused alone"))


def _check_templates(catalog: Catalog, problems: list[Problem]) -> None:
    folders = {name for name, _, _ in catalog.templates}
    broken = {problem.file for problem in problems}
    for kind in catalog.types.values():
        for step in kind.route:
            needs = step.channel in KINDS and catalog.template(kind.template, step.channel, None) is None
            folder = f"templates/{kind.template}/{step.channel}."
            if not needs or any(file.startswith(folder) for file in broken):
                continue
            ending = KINDS[step.channel][0]
            wanted = f"{folder}{catalog.default_locale}.{ending} or {folder}{ending}"
            guess = "" if kind.template in folders else did_you_mean(kind.template, folders)
            problems.append(
                Problem(MAIN, f"types.{kind.name}", f"has no template for {step.channel}{guess}", f"add {wanted}")
            )
