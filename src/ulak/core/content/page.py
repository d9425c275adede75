"""How does the body of an email become the whole page that mail programs are sent?

The skeleton (placeholders still inside) is put into its layout, MJML becomes HTML, and CSS goes into
``style`` attributes, because many mail programs drop style sheets. What has to stay in the sheet stays:
``@media``, ``:hover`` and what else no attribute can say. CSS is never put in before the template has been
rendered: an HTML parser moves ``{% for %}`` out of a table.

All of that reads what the author wrote, not the data: values come afterwards (``fill``), so a page is made
once for all messages that differ in nothing but values. Nothing is fetched and no file is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from css_inline import CSSInliner, InlineError
from mjml import mjml2html

from ulak.core.content import fill, shell
from ulak.core.engine import RenderError
from ulak.core.locale import direction
from ulak.core.template_parts import CONTENT, PREHEADER, SUBJECT

LARGE = 90_000
"""Octets of HTML from which on there is a warning."""

CLIPPED = 102_000
"""Octets of HTML beyond which Gmail shows the beginning only."""

_REFUSED = re.compile(
    r"<(iframe|xmp|noembed|noframes|plaintext|object|embed|applet)\b"
    r"|<(script)\b(?![^>]*application/ld\+json)",
    re.IGNORECASE,
)
_WELL_FORMED = re.compile(
    r"""[^<]+|<!--.*?-->|<!DOCTYPE[^>]*>|<(style|script)\b[^>]*>.*?</\1>|</[a-z][^\s"'<>/=]*>"""
    r"""|<[a-z][^\s"'<>/=]*(?:\ [^\s"'<>/=]+="[^"]*")*>""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_UNKNOWN = re.compile(r"<(mj-[^\s/>]*)", re.IGNORECASE)
_MJML = re.compile(r"<mjml\b(?![^>]*\slang\s*=)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Words:
    """What stands around a body: placeholders of the subject and the preheader, and the language."""

    subject: str
    preheader: str
    language: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A drafted layout: ``kind`` is html or mjml."""

    kind: str
    page: str


class Pages:
    """Makes pages out of skeletons."""

    def __init__(self) -> None:
        # `load_remote_stylesheets` is what keeps it from reading local files, too.
        self._inliner = CSSInliner(
            load_remote_stylesheets=False, keep_link_tags=True, keep_style_tags=True, remove_inlined_selectors=True
        )
        self._parser = CSSInliner(
            inline_style_tags=False, load_remote_stylesheets=False, keep_link_tags=True, keep_style_tags=True
        )

    def whole(self, body: str, kind: str, frame: Frame | None, words: Words) -> str:
        """A body of this kind (md stands for HTML made of Markdown) as a page, CSS still in its sheet."""
        if frame is None and kind == "md":
            return shell.page(body, subject=words.subject, preheader=words.preheader, language=words.language)
        page = body if frame is None else frame.page
        placed = PREHEADER in page
        page = page.replace(SUBJECT, words.subject).replace(PREHEADER, words.preheader)
        if kind == "mjml":
            page = _from_mjml(page.replace(CONTENT, body), words.language)
        else:
            if frame is not None and frame.kind == "mjml":
                page = _from_mjml(page, words.language)
            page = page.replace(CONTENT, body)
        return page if placed else shell.with_preheader(page, words.preheader)

    def plan(self, page: str, *, breaks: bool) -> fill.Plan:
        """A whole page with its CSS in place, ready to be filled; raises ``RenderError``.

        Where the CSS would make a page so large that it is cut off, it stays in the sheet.
        """
        found = _REFUSED.search(page)
        if found is not None:
            raise RenderError("html_unsupported", f"no mail program shows <{(found[1] or found[2]).lower()}>")
        settled = fill.settle(page)
        try:
            made = self._inliner.inline(settled)
            if _octets(made) > CLIPPED >= _octets(settled):
                made = self._parser.inline(settled)
        except InlineError as error:
            raise RenderError("css_broken", str(error).split("\n", 1)[0][:200]) from None
        _check(made)
        return fill.plan(made, breaks=breaks)


def _check(page: str) -> None:
    """Refuse what the parser made of a missing quote: attributes with names that no reader agrees on.

    Where a tag ends would be a matter of opinion then, and a value could end up outside of it.
    """
    at = 0
    while at < len(page):
        found = _WELL_FORMED.match(page, at)
        if found is None:
            tag = re.match(r"</?[A-Za-z0-9:-]*", page[at:])
            near = tag[0] if tag is not None else "<"
            raise RenderError("html_broken", f"a tag can't be read; look for a missing quote near {near}")
        at = found.end()


def size_warning(html: str) -> str | None:
    """What there is to say of a page's size, if anything."""
    size = _octets(html)
    if size < LARGE:
        return None
    return f"the HTML has {size // 1000} kB; Gmail shows only the first {CLIPPED // 1000}"


def _octets(html: str) -> int:
    return len(html) if html.isascii() else len(html.encode("utf-8", "replace"))


def _from_mjml(source: str, language: str) -> str:
    """HTML of a whole MJML document; no fonts are loaded but those that it names."""
    source = _MJML.sub(f'<mjml lang="{language}" dir="{direction(language)}"', source, count=1)
    try:
        made = mjml2html(source.strip(), fonts={})
    except ValueError as error:
        # Its words tell what it read and never the text.
        said = str(error).split("\n", 1)[0][:200]
        raise RenderError("mjml_broken", f"{said}; look for a tag or a quote that is not closed") from None
    # An element that MJML does not know in its place is left as it is, and mail programs show it as plain text.
    left = _UNKNOWN.search(_COMMENT.sub("", made))
    if left is not None:
        raise RenderError("mjml_broken", f"MJML knows no <{left[1][:40]}> in this place")
    return made
