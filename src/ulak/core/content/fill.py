"""How is a value of data put into HTML, a URL or plain text without becoming markup?

The skeleton is what the author wrote; the values fill its placeholders. Text is escaped; a value inside
a tag may only stand in an attribute's value, which is then quoted; URLs keep to a list of schemes;
styles take only characters that can't start anything; event handlers take nothing.

HTML is filled in two steps, so that all that does not depend on the values is done once for a skeleton:
``settle`` puts placeholders where they can be found again behind an HTML parser, ``plan`` reads the
parsed page into literal pieces and what fills the gaps between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from html import escape, unescape
from urllib.parse import quote

from ulak.core.engine import PLACE

SCHEMES = frozenset({"http", "https", "mailto", "tel"})
"""Schemes that a URL may have when data had a say in it."""

Op = Callable[[Sequence[str]], str]
"""What stands in a gap, once the values are known."""

_URL_ATTRIBUTES = frozenset({"href", "src", "action", "formaction", "background", "poster", "cite", "data", "longdesc"})
_URL_ATTRIBUTES |= {"xlink:href", "ping", "manifest", "srcset"}
_TAG = re.compile(
    r"""<a data-auto="" href="Zq(?P<auto>\d{1,6})qZ"(?P<more>[^>]*)>Zq\d{1,6}qZ</a>|<!--.*?(?:-->|\Z)"""
    r"""|<style\b.*?(?:</style\s*>|\Z)|<script\b.*?(?:</script\s*>|\Z)"""
    r"""|</?[A-Za-z!?](?:[^"'<>]|"[^"]*"|'[^']*')*>|Zq\d{1,6}qZ""",
    re.DOTALL | re.IGNORECASE,
)
_CONDITION = re.compile(r"<!--\[if [^\]<>]*\]>(?!<!)")
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'<>]+)""")
_STYLE_URL = re.compile(r"""url\(\s*(['"]?)([^'")]*)\1\s*\)""", re.IGNORECASE)
_SCHEME = re.compile(r"[\x00-\x20]*([A-Za-z][A-Za-z0-9+.\-]*):")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NOT_STYLE = re.compile(r"[^A-Za-z0-9#%., -]")
_SAFE_IN_URL = ";/?:@&=+$,#%-_.!~*'()[]"
_IN_STYLE_URL = str.maketrans({"'": "%27", '"': "%22", "(": "%28", ")": "%29", "\\": "%5C", ";": "%3B", " ": "%20"})
_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"})


def plain(skeleton: str, values: Sequence[str]) -> str:
    """Fill plain text of several lines; control characters and direction overrides are dropped."""
    return _CONTROL.sub("", PLACE.sub(lambda match: _value(match, values), skeleton))


def line(skeleton: str, values: Sequence[str], limit: int = 998) -> str:
    """Fill one line, such as a subject: white space becomes single spaces."""
    return " ".join(plain(skeleton, values).split())[:limit]


def address(skeleton: str, values: Sequence[str]) -> str:
    """Fill an address field: a value can't close a name or add a second address."""
    calm = [re.sub(r"""[<>,;:"\\()\[\]]""", "", value) for value in values]
    return line(skeleton, calm)


def url(skeleton: str, values: Sequence[str]) -> str | None:
    """Fill a URL; None when it ends up with a scheme that is not on the list."""
    text = PLACE.sub(lambda match: quote(_clean(_value(match, values)).strip(), safe=_SAFE_IN_URL), skeleton).strip()
    scheme, colon, _ = re.split(r"[/?#]", text, maxsplit=1)[0].partition(":")
    if not colon or scheme.lower() in SCHEMES:
        return text or None
    # A scheme that the author wrote out is the author's choice, unless it runs code.
    literal = PLACE.split(skeleton, maxsplit=1)[0]
    return text if ":" in literal and scheme.lower() not in ("javascript", "data", "vbscript") else None


def html(skeleton: str, values: Sequence[str], *, breaks: bool = False) -> str:
    """Settle, plan and fill a fragment that no parser has seen."""
    return plan(settle(skeleton), breaks=breaks).fill(values)


# Step one, before the parser


def settle(skeleton: str) -> str:
    """Leave placeholders in text, in quoted attribute values, and in the bodies of styles and scripts.

    A parser may move or rename whatever else has one, so a placeholder in the name of a tag or attribute
    goes, as does a comment around one; ``<{{ url }}>`` becomes a link that ``plan`` knows again.
    """
    return _TAG.sub(_settled, skeleton)


def _settled(match: re.Match[str]) -> str:
    text = match[0]
    if text[0] != "<" or PLACE.search(text) is None or text[:6].lower() in ("<style", "<scrip"):
        return text
    if text.startswith("<!--"):
        return _conditional(text)
    auto = PLACE.fullmatch(text[1:-1])
    if auto is not None:
        return f'<a data-auto="" href="{auto[0]}">{auto[0]}</a>'
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        name, raw = found[1], found[2]
        if PLACE.search(raw) is not None and _harmless(name):
            raw = raw[1:-1] if raw[0] in "\"'" else raw
            raw = f'"{escape(unescape(raw))}"'
        elif PLACE.search(found[0]) is not None:
            return ""
        kept.append(f"{name}={raw}")
        return f"\x00{len(kept) - 1}\x00"

    # A NUL can't stand in a template, so the kept attributes are found again when the rest is cleared.
    rest = PLACE.sub("", _ATTRIBUTE.sub(keep, text))
    return re.sub("\x00(\\d+)\x00", lambda found: kept[int(found[1])], rest)


def _harmless(attribute: str) -> bool:
    name = attribute.lower()
    return PLACE.search(attribute) is None and not name.startswith("on") and name != "srcdoc"


def _conditional(comment: str) -> str:
    """What only Outlook reads is filled as well; any other comment around a value goes."""
    opened = _CONDITION.match(comment)
    if opened is None or not comment.endswith("<![endif]-->"):
        return ""
    return f"{opened[0]}{settle(comment[opened.end() : -12])}<![endif]-->"


# Step two, behind the parser


class Plan:
    """A page with gaps: literal pieces, and what fills each gap."""

    __slots__ = ("_gaps", "_pieces", "size")

    def __init__(self, pieces: list[str], gaps: list[tuple[int, Op]]) -> None:
        self._pieces = pieces
        self._gaps = gaps
        self.size = sum(map(len, pieces))

    def fill(self, values: Sequence[str]) -> str:
        """The page with these values."""
        pieces = self._pieces.copy()
        for at, op in self._gaps:
            pieces[at] = op(values)
        return "".join(pieces)


def plan(skeleton: str, *, breaks: bool = False) -> Plan:
    """Read a settled page; with ``breaks`` a new line in a value becomes ``<br>`` (outside of ``<pre>``)."""
    builder = _Builder(breaks=breaks)
    builder.take(skeleton)
    return Plan(builder.pieces, builder.gaps)


class _Builder:
    def __init__(self, *, breaks: bool) -> None:
        self.pieces: list[str] = []
        self.gaps: list[tuple[int, Op]] = []
        self._breaks = breaks
        self._solid = 0

    def take(self, skeleton: str) -> None:
        """Go through a part of the page, tag by tag."""
        end = 0
        for match in _TAG.finditer(skeleton):
            text = match[0]
            if text[0] == "<" and PLACE.search(text) is None:
                self._nest(text)
                continue
            self.pieces.append(skeleton[end : match.start()])
            end = match.end()
            if text[0] != "<":
                self._gap(_text(int(text[2:-2]), breaks=self._breaks and not self._solid))
            elif match["auto"] is not None:
                self._gap(_autolink(int(match["auto"]), match["more"]))
            else:
                self._nest(text)
                self._tag(text)
        self.pieces.append(skeleton[end:])

    def _nest(self, text: str) -> None:
        name = text[:6].lower()
        if name[:4] == "<pre" or name == "<title":
            self._solid += 1
        elif name[:5] == "</pre" or text[:7].lower() == "</title":
            self._solid -= 1

    def _gap(self, op: Op) -> None:
        self.gaps.append((len(self.pieces), op))
        self.pieces.append("")

    def _tag(self, text: str) -> None:
        head = text[:6].lower()
        if text.startswith("<!--"):
            opened = _CONDITION.match(text)
            if opened is not None and text.endswith("<![endif]-->"):
                self.pieces.append(opened[0])
                self.take(text[opened.end() : -12])
                self.pieces.append("<![endif]-->")
        elif head == "<style":
            self._gap(lambda values: PLACE.sub(lambda at: _NOT_STYLE.sub("", _value(at, values)), text))
        elif head == "<scrip":
            self._gap(lambda values: PLACE.sub(lambda at: _in_script(_value(at, values)), text))
        else:
            self._attributes(text)

    def _attributes(self, tag: str) -> None:
        end = 0
        for match in _ATTRIBUTE.finditer(tag):
            name, raw = match[1], match[2]
            if PLACE.search(match[0]) is None:
                continue
            self.pieces.append(PLACE.sub("", tag[end : match.start()]))
            end = match.end()
            if _harmless(name):
                raw = raw[1:-1] if raw[0] in "\"'" else raw
                self.pieces.append(f'{name}="')
                self._gap(_attribute(name.lower(), unescape(raw)))
                self.pieces.append('"')
        self.pieces.append(PLACE.sub("", tag[end:]))


def _value(match: re.Match[str], values: Sequence[str]) -> str:
    at = int(match[1])
    return values[at] if at < len(values) else ""


def _clean(value: str) -> str:
    return _CONTROL.sub("", value)


def _text(at: int, *, breaks: bool) -> Op:
    def op(values: Sequence[str]) -> str:
        text = escape(_CONTROL.sub("", values[at])) if at < len(values) else ""
        return text.replace("\n", "<br>\n") if breaks else text

    return op


def _autolink(at: int, more: str) -> Op:
    def op(values: Sequence[str]) -> str:
        value = values[at] if at < len(values) else ""
        target = url("Zq0qZ", [value])
        text = escape(_clean(value))
        if target is None or _SCHEME.match(target) is None:
            return text
        return f'<a href="{escape(target)}"{more}>{text}</a>'

    return op


def _attribute(name: str, raw: str) -> Op:
    if name in _URL_ATTRIBUTES:
        return lambda values: escape(url(raw, values) or "#")
    if name == "style":
        return lambda values: escape(_style(raw, values))
    return lambda values: escape(PLACE.sub(lambda at: _clean(_value(at, values)), raw))


def _style(raw: str, values: Sequence[str]) -> str:
    """Declarations of an attribute: a value may be a colour or a length, or an address inside ``url()``."""

    def address_in(match: re.Match[str]) -> str:
        if PLACE.search(match[2]) is None:
            return match[0]
        target = url(match[2], values)
        return f"url('{target.translate(_IN_STYLE_URL)}')" if target else "none"

    return PLACE.sub(lambda at: _NOT_STYLE.sub("", _value(at, values)), _STYLE_URL.sub(address_in, raw))


def _in_script(value: str) -> str:
    """The inside of a JSON string, for data that mail programs read (``application/ld+json``)."""
    return json.dumps(_clean(value))[1:-1].translate(_IN_SCRIPT)
