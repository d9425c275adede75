"""What does a template's file say: whom it is for (its name), its front matter and its body?

``templates/<template>/<channel>[.<locale>].<ending>``: TOML between two lines ``+++``, then the body.
What several of them share stands in ``templates/_layouts`` and ``templates/_partials`` (``template_parts``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from ulak.core import fields, front_matter, locale, template
from ulak.core.fields import Problem, did_you_mean
from ulak.core.front_matter import FRONT, MAX_TEMPLATE
from ulak.core.model import Channel
from ulak.core.template_parts import Layout, Shared

__all__ = ["FRONT", "KINDS", "MAX_TEMPLATE", "Template", "read"]

KINDS: Mapping[Channel, tuple[str, ...]] = {
    Channel.IN_APP: ("txt",),
    Channel.PUSH: ("txt",),
    Channel.EMAIL: ("md", "html", "mjml", "txt"),
}
"""Channels that need a template, and the file name endings that each may have."""

STANDS_IN: Mapping[Channel, Channel] = {Channel.PUSH: Channel.IN_APP}
"""A channel whose template serves where one of the channel itself is missing: it has all the keys that are needed."""


@dataclass(frozen=True, slots=True)
class Template:
    """One template file: ``front`` values and ``body`` are MiniJinja sources; ``locale`` may be "".

    Keys of ``front`` are flat: ``subject``, ``attachments[0].url``, ``headers.X-Order``. Partials are in
    their place already.
    """

    name: str
    channel: Channel
    locale: str
    kind: str
    front: Mapping[str, str]
    body: str
    file: str
    layout: Layout | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """All that is drafted: front matter, body, and the layout's page and text."""
        layout = () if self.layout is None else (self.layout.page, self.layout.text or "")
        return (*self.front.values(), self.body, *layout)


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    channel: Channel
    locale: str
    kind: str


def read(
    files: Mapping[str, str], problems: list[Problem], *, layout: str | None = None, default_locale: str = "en"
) -> dict[tuple[str, Channel, str], Template]:
    """Read every file below ``templates/``; mistakes go to ``problems``. ``layout`` is that of Markdown emails."""
    shared = Shared(files, default_locale, problems)
    found: dict[tuple[str, Channel, str], Template] = {}
    for file in sorted(files):
        if not file.startswith("templates/") or shared.owns(file):
            continue
        parsed = _template(file, files[file], shared, layout, problems)
        if parsed is None:
            continue
        key = (parsed.name, parsed.channel, parsed.locale)
        if key in found:
            hint = "keep one of them"
            problems.append(Problem(file, "", f"stands beside {found[key].file} for the same channel and locale", hint))
        found[key] = parsed
    return found


def _template(
    file: str, content: str, shared: Shared, default_layout: str | None, problems: list[Problem]
) -> Template | None:
    place = _place(file, problems)
    if place is None:
        return None
    if len(content) > MAX_TEMPLATE:
        problems.append(Problem(file, "", f"is longer than {MAX_TEMPLATE} characters", "shorten it"))
        return None
    head, body, offset = _split(content.replace("\r\n", "\n"))
    try:
        table = tomllib.loads(head)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(Problem(file, "front matter", f"is not valid TOML: {error}", "between the two +++ lines"))
        return None
    values = fields.read(table, FRONT[place.channel], file, "", problems)
    wanted = values.pop("layout", None) or (default_layout if place.kind == "md" else None)
    front = front_matter.flat(values)
    for key, source in front.items():
        problems += [Problem(file, key, message) for message in template.mistakes(source)]
    whole = _body(file, place, body, offset, shared, problems)
    layout = None if wanted in (None, "none") else shared.layout(file, wanted, place.kind, place.locale)
    return Template(place.name, place.channel, place.locale, place.kind, front, whole, file, layout)


def _body(file: str, place: _Place, body: str, offset: int, shared: Shared, problems: list[Problem]) -> str:
    """The body with its partials in place; mistakes are told by the line of the file where that is possible."""
    whole = shared.expand(file, body, place.kind, place.locale)
    if whole is None:
        return ""
    source = "\n" * offset + body if whole == body else whole
    among = "" if whole == body else "with its partials in place, "
    problems += [Problem(file, "body", among + message) for message in template.mistakes(source)]
    return whole


def _place(file: str, problems: list[Problem]) -> _Place | None:
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
    return _Place(parts[1], channel, tag, kind)


def _split(content: str) -> tuple[str, str, int]:
    """Front matter, body, and how many lines stand before the body."""
    lines = content.split("\n")
    if lines[0].strip() != "+++":
        return "", content, 0
    for at, line in enumerate(lines[1:], 1):
        if line.strip() == "+++":
            return "\n".join(lines[1:at]), "\n".join(lines[at + 1 :]), at + 1
    return "\n".join(lines[1:]), "", len(lines)
