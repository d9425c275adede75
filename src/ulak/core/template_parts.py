"""What do templates share: which page is put around a body, and which pieces are put into it?

``templates/_layouts/NAME[.LOCALE].html`` (or ``.mjml``) is a page with ``{{ content }}`` in it; a ``.txt``
beside it is put around the text part. ``templates/_partials/NAME[.LOCALE].<ending>`` is put where a template
says ``{% include "NAME" %}``. Partials are put in when the folder is read, as if the author had written them
there: what is rendered has no include left, so its bounds are those of one text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ulak.core import locale, template
from ulak.core.fields import Problem, did_you_mean
from ulak.core.front_matter import MAX_TEMPLATE

LAYOUTS = "templates/_layouts/"
PARTIALS = "templates/_partials/"
CONTENT, SUBJECT, PREHEADER = "ZqcontentqZ", "ZqsubjectqZ", "ZqpreheaderqZ"
"""What stands in a layout for the body, the subject and the preheader."""

MAX_WHOLE = 2 * MAX_TEMPLATE
"""The longest text after all partials are in place, in characters."""

MAX_DEPTH = 5
"""How deep partials may include others."""

_LAYOUT_KINDS = ("html", "mjml", "txt")
_PARTIAL_KINDS = ("md", "html", "mjml", "txt")
_FITS: Mapping[str, tuple[str, ...]] = {"md": ("md", "html"), "html": ("html",), "mjml": ("mjml",), "txt": ("txt",)}
"""Which partials may stand in which kind of body, in order of preference."""

_PAGES: Mapping[str, tuple[str, ...]] = {"md": ("html", "mjml"), "html": ("html", "mjml"), "mjml": ("mjml",)}
"""Which layouts may stand around which kind of body."""

_INCLUDE = re.compile(r"""\{%([-+]?)\s*include\s+(?:"([^"{}]*)"|'([^'{}]*)')\s*([-+]?)%\}""")
_OWN = re.compile(r"\{\{[-+]?\s*(content|subject|preheader)\s*[-+]?\}\}")
_MARK = {"content": CONTENT, "subject": SUBJECT, "preheader": PREHEADER}


@dataclass(frozen=True, slots=True)
class Layout:
    """A page around a body; ``kind`` is html or mjml, ``text`` what is put around the text part."""

    kind: str
    page: str
    text: str | None
    file: str


class Shared:
    """The layouts and partials of one folder; mistakes go to ``problems``, each once."""

    def __init__(self, files: Mapping[str, str], default_locale: str, problems: list[Problem]) -> None:
        self._default = default_locale
        self._problems = problems
        self._layouts: dict[tuple[str, str, str], str] = {}
        self._partials: dict[tuple[str, str, str], str] = {}
        self._files = {name: text.replace("\r\n", "\n") for name, text in files.items() if self.owns(name)}
        for file in sorted(self._files):
            self._index(file)
        for file in self._partials.values():
            self._check(file)
        self._pages = {file: page for file in self._layouts.values() if (page := self._page(file)) is not None}

    @staticmethod
    def owns(file: str) -> bool:
        """Whether a file is shared by templates instead of being one."""
        return file.startswith((LAYOUTS, PARTIALS))

    def expand(self, file: str, source: str, kind: str, tag: str) -> str | None:
        """A text with its partials in place; None when one is missing, or they make it too long."""
        return self._expand(file, source, kind, tag, (file,))

    def layout(self, file: str, name: str, kind: str, tag: str) -> Layout | None:
        """The layout of this name that fits a body best; None, and a problem, when there is none."""
        for candidate in locale.chain(tag, self._default):
            for page in _PAGES.get(kind, ()):
                found = self._layouts.get((name, candidate, page))
                if found is not None:
                    return self._around(found, name, page, tag)
        known = sorted({each for each, _, page in self._layouts if page in _PAGES.get(kind, ())})
        hint = did_you_mean(name, known).removeprefix("; ") or f"layouts for .{kind}: {', '.join(known) or 'none'}"
        self._problems.append(Problem(file, "layout", f"there is no layout '{name}' for a .{kind} file", hint))
        return None

    # Reading

    def _index(self, file: str) -> None:
        folder = LAYOUTS if file.startswith(LAYOUTS) else PARTIALS
        pieces = file.removeprefix(folder).split(".")
        kinds = _LAYOUT_KINDS if folder == LAYOUTS else _PARTIAL_KINDS
        tag = locale.canonical(pieces[1]) if len(pieces) == 3 else ""
        if not 2 <= len(pieces) <= 3 or "/" in file.removeprefix(folder) or pieces[-1] not in kinds or tag is None:
            shape = f"write {folder}NAME[.LOCALE].EXT; endings: .{', .'.join(kinds)}"
            self._problems.append(Problem(file, "", "is no name of a layout or partial", shape))
            return
        if len(self._files[file]) > MAX_TEMPLATE:
            self._problems.append(Problem(file, "", f"is longer than {MAX_TEMPLATE} characters", "shorten it"))
            return
        index = self._layouts if folder == LAYOUTS else self._partials
        index[pieces[0], tag, pieces[-1]] = file

    def _check(self, file: str) -> None:
        """Tell a partial's own mistakes; what it reads besides, such as a loop's variable, its includer knows."""
        source = _INCLUDE.sub("", self._files[file])
        self._problems += [Problem(file, "", message) for message in template.mistakes(source, alone=False)]

    def _page(self, file: str) -> str | None:
        """A layout with its partials and marks in place."""
        kind, tag = file.rpartition(".")[2], self._tag(file)
        whole = self._expand(file, self._files[file], kind, tag, (file,))
        if whole is None:
            return None
        page = _OWN.sub(lambda match: _MARK[match[1]], whole)
        if page.count(CONTENT) != 1:
            hint = "it says where the body goes"
            self._problems.append(Problem(file, "", "must have {{ content }} exactly once", hint))
            return None
        self._problems += [Problem(file, "", message) for message in template.mistakes(page)]
        return page

    def _tag(self, file: str) -> str:
        return next(tag for (_, tag, _), each in self._layouts.items() if each == file)

    def _around(self, file: str, name: str, kind: str, tag: str) -> Layout | None:
        page = self._pages.get(file)
        if page is None:
            return None  # told already
        names = [self._layouts.get((name, candidate, "txt")) for candidate in locale.chain(tag, self._default)]
        text = next((self._pages.get(each) for each in names if each is not None), None)
        return Layout(kind, page, text, file)

    # Including

    def _expand(self, file: str, source: str, kind: str, tag: str, above: tuple[str, ...]) -> str | None:
        broken = False
        size = len(source)

        def put(match: re.Match[str]) -> str:
            nonlocal broken, size
            text = None if broken else self._partial(file, match[2] or match[3] or "", kind, tag, above)
            size += len(text or "")
            if text is None or size > MAX_WHOLE:
                if text is not None:
                    message = f"is longer than {MAX_WHOLE} characters with its partials in place"
                    self._problems.append(Problem(above[0], "", message, "include less"))
                broken = True
                return ""
            # A scope of its own: what a partial sets ends with it.
            return f"{{%{match[1]} with %}}{text}{{% endwith {match[4]}%}}"

        whole = _INCLUDE.sub(put, source)
        return None if broken else whole

    def _partial(self, file: str, name: str, kind: str, tag: str, above: tuple[str, ...]) -> str | None:
        for candidate in locale.chain(tag, self._default):
            for ending in _FITS[kind]:
                found = self._partials.get((name, candidate, ending))
                if found is None:
                    continue
                if found in above or len(above) > MAX_DEPTH:
                    message = f"partials include one another: {' → '.join([*above, found])}"
                    self._problems.append(Problem(above[0], "", message, "break the circle"))
                    return None
                return self._expand(found, self._files[found].rstrip("\n"), kind, tag, (*above, found))
        known = sorted({each for each, _, ending in self._partials if ending in _FITS[kind]})
        hint = did_you_mean(name, known).removeprefix("; ") or f"partials for .{kind}: {', '.join(known) or 'none'}"
        self._problems.append(Problem(file, "", f"there is no partial '{name}' for a .{kind} file", hint))
        return None
