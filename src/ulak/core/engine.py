"""What does a template say with this data, before anything is escaped?

Data never enters the text that is rendered here. Every value that a template shows is put aside and a
placeholder stands for it, so that Markdown and HTML are read from what the *author* wrote alone; the
values are put in at the end, escaped for the place where they stand (``content/fill``).

Bounds: fuel by template, length of every text that a filter makes, and of all values shown together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import minijinja

from ulak.core import formats, template
from ulak.core.formats import FormatError, Formats

FUEL = 30_000
"""Instructions of one rendering (about 3 ms)."""

MAX_LITERALS = 8 * 1024 * 1024
"""Fuel is lowered until fuel times the longest literal stays below this many characters."""

MAX_COPIES = 64 * 1024 * 1024
"""Fuel is lowered towards ``LEAST_FUEL`` until fuel times the longest string of the data stays below this."""

LEAST_FUEL = 5_000
MAX_SHOWN = 512 * 1024
"""The most characters of data that one rendering may show."""

MAX_STRING = 32 * 1024
"""Longer strings of data are cut for templates."""

MAX_DEPTH = 64
PART = "\x1e"
PLACE = re.compile(r"Zq(\d{1,6})qZ")
"""A placeholder: letters and digits only, so that no markup and no URL changes it."""


FORMATTING = ("currency", "date", "datetime", "number", "percent", "plural", "time")
"""Filters that write a value as its reader would: methods of ``Formats``."""

ZONED = frozenset({"date", "datetime", "time"})
"""Those that look at the reader's time zone."""


class RenderError(Exception):
    """A template that can't be rendered with this data; ``reason`` is a short stable word."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Draft:
    """Rendered parts with placeholders, and the texts that these stand for.

    ``whole`` is all parts in one: two drafts of a file with the same whole differ in nothing but values.
    """

    whole: str
    parts: tuple[str, ...]
    values: Sequence[str]


class _Table(dict[str, Any]):
    """A JSON object without reachable methods: ``data.items`` is the key of that name or nothing."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if name[:2] == "__":
            return dict.__getattribute__(self, name)
        raise AttributeError(name)


class _Row(list[Any]):
    """A JSON array without reachable methods."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if name[:2] == "__":
            return list.__getattribute__(self, name)
        raise AttributeError(name)


class _TooLong(Exception):
    """A filter or a rendering made more text than is allowed."""


_MISUSED = (TypeError, AttributeError, ValueError, OverflowError, ZeroDivisionError, LookupError, RecursionError)
"""What Python raises when a template gives one of our filters something absurd."""


class Engine:
    """Compiled templates of one catalogue. Not for use by two threads at a time."""

    def __init__(self) -> None:
        self._values: list[str] = []
        self._shown = 0
        self._fuel: dict[str, int] = {}
        self._plainest = self._formats = Formats(formats.nearest("en", None), formats.zone(None))
        self._environment = minijinja.Environment(
            fuel=FUEL, undefined_behavior="chainable", finalizer=self._put_aside, debug=False, pycompat=False
        )
        for name, own in _OWN_FILTERS.items():
            self._environment.add_filter(name, own)
        for name in FORMATTING:
            self._environment.add_filter(name, self._formatting(name))
        self._environment.add_test("mapping", lambda value: isinstance(value, dict))
        for name in template.REMOVED_FILTERS:
            self._environment.remove_filter(name)
        for name in template.REMOVED_GLOBALS:
            self._environment.remove_global(name)

    def add(self, name: str, sources: Sequence[str]) -> None:
        """Compile the parts of one file (front matter and body) under a name."""
        # Each part has a scope of its own, as if they were rendered one by one.
        self._environment.add_template(name, PART.join(f"{{% with %}}{source}{{% endwith %}}" for source in sources))
        longest = max(map(template.longest_literal, sources), default=0)
        self._fuel[name] = max(1000, min(FUEL, MAX_LITERALS // max(longest, 1)))

    def draft(self, name: str, context: Mapping[str, Any], custom: Formats | None = None) -> Draft:
        """Render a file's parts, with numbers and dates after a user's custom; raise ``RenderError``."""
        self._formats = custom or self._plainest
        self._values = []
        self._shown = 0
        try:
            copier = _Copier()
            plain = {key: copier.copy(value, 0) for key, value in context.items()}
            bound = max(LEAST_FUEL, MAX_COPIES // max(copier.longest, 1))
            self._environment.fuel = min(self._fuel[name], bound)
            text = self._environment.render_template(name, **plain)
        except _TooLong as error:
            raise RenderError("template_too_large", f"{name} makes {error}") from None
        except minijinja.TemplateError as error:
            if error.kind == "OutOfFuel":
                raise RenderError("template_too_slow", f"{name} runs for too long") from None
            raise RenderError("template_failed", f"{name}: {_told(error)}") from None
        except FormatError as error:
            raise RenderError("format_unknown", f"{name}: {error}") from None
        except _MISUSED as error:
            raise RenderError("template_failed", f"{name}: a filter was misused ({type(error).__name__})") from None
        return Draft(text, tuple(text.split(PART)), self._values)

    def _formatting(self, name: str) -> Callable[..., str]:
        def custom(value: object = None, *args: Any, **named: Any) -> str:
            text: str = getattr(self._formats, name)(value, *args, **named)
            return text

        return custom

    def _put_aside(self, value: object) -> str:
        text = shown(value)
        if not text:
            return ""
        self._shown += len(text)
        if self._shown > MAX_SHOWN:
            raise _TooLong(f"more than {MAX_SHOWN} characters of data")
        self._values.append(text)
        return f"Zq{len(self._values) - 1}qZ"


def shown(value: object) -> str:
    """How a value of data looks: nothing for what is missing, JSON for what has parts."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple, dict)) and value:
        return json.dumps(_bare(value), ensure_ascii=False, default=lambda _: "")
    return ""


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _bare(each) for key, each in dict.items(value)}
    return [_bare(each) for each in value] if isinstance(value, (list, tuple)) else value


def _told(error: minijinja.TemplateError) -> str:
    # Of the engine's words only the first line, cut: they may quote data.
    return str(error.detail or error.message).split("\n", 1)[0][:200]


class _Copier:
    """Copies data into values that hold nothing but JSON's types, so that no method of ours can be reached."""

    def __init__(self) -> None:
        self.longest = 0

    def copy(self, value: Any, depth: int) -> Any:
        """A plain copy of one value, long strings cut and deep nesting dropped."""
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if -(2**63) <= value < 2**63 else str(value) if value.bit_length() < 4096 else ""
        if depth >= MAX_DEPTH:
            return None
        if isinstance(value, Mapping):
            return _Table({str(key): self.copy(each, depth + 1) for key, each in value.items()})
        if isinstance(value, (list, tuple)):
            return _Row([self.copy(each, depth + 1) for each in value])
        raise RenderError("data_not_plain", f"data holds a {type(value).__name__}")

    def _text(self, value: str) -> str:
        length = len(value)
        if length > MAX_STRING:
            value, length = value[: MAX_STRING - 1] + "…", MAX_STRING
        self.longest = max(self.longest, length)
        return value


def _bounded(length: int) -> None:
    if length > MAX_STRING:
        raise _TooLong(f"a text of more than {MAX_STRING} characters")


def _join(values: object, separator: object = "", attribute: str | None = None) -> str:
    if not isinstance(values, (list, tuple, str)):
        return shown(values)
    if attribute is not None:
        values = [dict.get(each, attribute) if isinstance(each, dict) else None for each in values]
    texts = list(map(shown, values))
    between = shown(separator)
    _bounded(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _replace(value: object, old: object, new: object) -> str:
    text, before, after = shown(value), shown(old), shown(new)
    _bounded(len(text) + (text.count(before) if before else len(text) + 1) * len(after))
    return text.replace(before, after)


def _tojson(value: object) -> str:
    text = json.dumps(_bare(value), ensure_ascii=False, default=lambda _: None)
    _bounded(len(text))
    return text


def _length(value: object) -> int:
    return len(value) if isinstance(value, (str, list, tuple, dict)) else 0


def _first(value: object) -> object:
    return next(iter(value), None) if isinstance(value, (str, list, tuple, dict)) else None


def _last(value: object) -> object:
    return value[-1] if isinstance(value, (str, list, tuple)) and value else None


def _items(value: object) -> list[tuple[Any, Any]]:
    return list(dict.items(value)) if isinstance(value, dict) else []


def _dictsort(value: object, by: str = "key", *, reverse: bool = False) -> list[tuple[Any, Any]]:
    at = int(by == "value")
    return sorted(_items(value), key=lambda pair: shown(pair[at]).casefold(), reverse=reverse)


def _times(value: object, factor: object = 1) -> object:
    numbers = [each for each in (value, factor) if isinstance(each, (int, float)) and abs(each) < 1e15]
    return numbers[0] * numbers[1] if len(numbers) == 2 else None


def _truncate(value: object, length: int = 80, end: str = "…") -> str:
    text = shown(value)
    return text if len(text) <= length else text[: max(length - len(end), 0)].rstrip() + end


_OWN_FILTERS: Mapping[str, Callable[..., Any]] = {
    "join": _join,
    "replace": _replace,
    "tojson": _tojson,
    "length": _length,
    "count": _length,
    "first": _first,
    "last": _last,
    "items": _items,
    "dictsort": _dictsort,
    "times": _times,
    "truncate": _truncate,
}
"""Filters that are bounded, or that take what is missing for nothing, where the engine's own are not."""
