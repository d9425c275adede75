"""What does a template's file say: whom it is for (its name), its front matter and its body?

``templates/<template>/<channel>[.<locale>].<ending>``: TOML between two lines ``+++``, then the body.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from ulak.core import fields, locale, template
from ulak.core.fields import Field, Problem, did_you_mean
from ulak.core.model import Channel

MAX_TEMPLATE = 64 * 1024
"""The largest template file, in characters."""

KINDS: Mapping[Channel, tuple[str, ...]] = {Channel.IN_APP: ("txt",), Channel.EMAIL: ("md", "html", "txt")}
"""Channels that need a template, and the file name endings that each may have."""

FRONT: Mapping[Channel, tuple[Field, ...]] = {
    Channel.IN_APP: (
        Field("title", fields.source, "first line of the item", required=True),
        Field("url", fields.source, "where a click leads: http, https, mailto, tel or a path"),
        Field("icon", fields.source, "URL or path of a picture"),
    ),
    Channel.EMAIL: (
        Field("subject", fields.source, "subject line", required=True),
        Field("preheader", fields.source, "what an inbox shows after the subject"),
        Field("from", fields.source, "sender, instead of [email] from"),
        Field("reply_to", fields.source, "instead of [email] reply_to"),
    ),
}
"""Front matter keys by channel; each value is a template of its own."""


@dataclass(frozen=True, slots=True)
class Template:
    """One template file: ``front`` values and ``body`` are MiniJinja sources; ``locale`` may be ""."""

    name: str
    channel: Channel
    locale: str
    kind: str
    front: Mapping[str, str]
    body: str
    file: str


def read(files: Mapping[str, str], problems: list[Problem]) -> dict[tuple[str, Channel, str], Template]:
    """Read every file below ``templates/``; mistakes go to ``problems``."""
    found: dict[tuple[str, Channel, str], Template] = {}
    for file in sorted(files):
        if not file.startswith("templates/"):
            continue
        parsed = _template(file, files[file], problems)
        if parsed is None:
            continue
        key = (parsed.name, parsed.channel, parsed.locale)
        if key in found:
            hint = "keep one of them"
            problems.append(Problem(file, "", f"stands beside {found[key].file} for the same channel and locale", hint))
        found[key] = parsed
    return found


def _template(file: str, content: str, problems: list[Problem]) -> Template | None:
    place = _place(file, problems)
    if place is None:
        return None
    name, channel, tag, kind = place
    if len(content) > MAX_TEMPLATE:
        problems.append(Problem(file, "", f"is longer than {MAX_TEMPLATE} characters", "shorten it"))
        return None
    head, body, offset = _split(content.replace("\r\n", "\n"))
    try:
        table = tomllib.loads(head)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(Problem(file, "front matter", f"is not valid TOML: {error}", "between the two +++ lines"))
        return None
    values = fields.read(table, FRONT[channel], file, "", problems)
    front = {key: value for key, value in values.items() if value is not None}
    for key, source in front.items():
        problems += [Problem(file, key, message) for message in template.mistakes(source)]
    for message in template.mistakes("\n" * offset + body):
        problems.append(Problem(file, "body", message))
    return Template(name, channel, tag, kind, front, body, file)


def _place(file: str, problems: list[Problem]) -> tuple[str, Channel, str, str] | None:
    parts = file.split("/")
    shape = "templates/NAME/CHANNEL[.LOCALE].EXT, such as templates/welcome/email.en.md"
    pieces = parts[-1].split(".")
    if len(parts) != 3 or not 2 <= len(pieces) <= 3:
        problems.append(Problem(file, "", "is no template's name", f"write {shape}"))
        return None
    channels = {channel.value: channel for channel in KINDS}
    channel = channels.get(pieces[0])
    if channel is None:
        hint = did_you_mean(pieces[0], channels).removeprefix("; ") or f"channels: {', '.join(channels)}"
        problems.append(Problem(file, "", f"'{pieces[0]}' is no channel that has templates", hint))
        return None
    kind = pieces[-1]
    if kind not in KINDS[channel]:
        problems.append(
            Problem(file, "", f"ends with .{kind}", f"{channel} templates end with .{', .'.join(KINDS[channel])}")
        )
        return None
    tag = locale.canonical(pieces[1]) if len(pieces) == 3 else ""
    if tag is None:
        problems.append(Problem(file, "", f"'{pieces[1]}' is no language tag", "write en, tr, pt-BR …"))
        return None
    return parts[1], channel, tag, kind


def _split(content: str) -> tuple[str, str, int]:
    """Front matter, body, and how many lines stand before the body."""
    lines = content.split("\n")
    if lines[0].strip() != "+++":
        return "", content, 0
    for at, line in enumerate(lines[1:], 1):
        if line.strip() == "+++":
            return "\n".join(lines[1:at]), "\n".join(lines[at + 1 :]), at + 1
    return "\n".join(lines[1:]), "", len(lines)
