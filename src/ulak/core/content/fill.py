"""How is a value of data put into HTML, a URL or plain text without becoming markup?

The skeleton is what the author wrote; the values fill its placeholders. Text is escaped; a value inside
a tag may only stand in an attribute's value, which is then quoted; URLs keep to a list of schemes;
styles take only characters that can't start anything; event handlers take nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape, unescape
from urllib.parse import quote

from ulak.core.engine import PLACE

SCHEMES = frozenset({"http", "https", "mailto", "tel"})
"""Schemes that a URL may have when data had a say in it."""

_URL_ATTRIBUTES = frozenset({"href", "src", "action", "formaction", "background", "poster", "cite", "data", "longdesc"})
_URL_ATTRIBUTES |= {"xlink:href", "ping", "manifest", "srcset"}
_TAG = re.compile(
    r"""<!--.*?(?:-->|\Z)|<style\b.*?(?:</style\s*>|\Z)|</?[A-Za-z!?](?:[^"'<>]|"[^"]*"|'[^']*')*>|Zq\d{1,6}qZ""",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'<>]+)""")
_SCHEME = re.compile(r"[\x00-\x20]*([A-Za-z][A-Za-z0-9+.\-]*):")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NOT_STYLE = re.compile(r"[^A-Za-z0-9#%., -]")
_SAFE_IN_URL = ";/?:@&=+$,#%-_.!~*'()[]"


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
    """Fill HTML; with ``breaks`` a new line in a value becomes ``<br>`` (outside of ``<pre>``)."""
    depth = 0

    def put(match: re.Match[str]) -> str:
        nonlocal depth
        text = match[0]
        if text[0] == "Z":
            before = skeleton[match.start() - 1 : match.start()]
            return _text(_value(PLACE.match(text), values), before, lines=breaks and depth == 0)
        if text[:4].lower() == "<pre":
            depth += 1
        elif text[:5].lower() == "</pre":
            depth -= 1
        return text if PLACE.search(text) is None else _tag(text, values)

    return _TAG.sub(put, skeleton)


def _value(match: re.Match[str] | None, values: Sequence[str]) -> str:
    at = int(match[1]) if match else len(values)
    return values[at] if at < len(values) else ""


def _clean(value: str) -> str:
    return _CONTROL.sub("", value)


def _text(value: str, before: str, *, lines: bool) -> str:
    # Right after a quote or "=" this may be an attribute that an unbalanced quote hid from us.
    if before and before in "=\"'" and url("Zq0qZ", [value]) is None:
        return "#"
    text = escape(_clean(value))
    return text.replace("\n", "<br>\n") if lines else text


def _tag(tag: str, values: Sequence[str]) -> str:
    if tag.startswith("<!--"):
        return ""
    if tag[:6].lower() == "<style":
        return PLACE.sub(lambda match: _NOT_STYLE.sub("", _value(match, values)), tag)
    if PLACE.fullmatch(tag[1:-1]):
        return _autolink(_value(PLACE.match(tag, 1), values))
    return PLACE.sub("", _ATTRIBUTE.sub(lambda match: _attribute(match, values), tag)) if values else PLACE.sub("", tag)


def _autolink(value: str) -> str:
    target = url("Zq0qZ", [value])
    text = escape(_clean(value))
    return text if target is None or _SCHEME.match(target) is None else f'<a href="{escape(target)}">{text}</a>'


def _attribute(match: re.Match[str], values: Sequence[str]) -> str:
    name, raw = match[1].lower(), match[2]
    if PLACE.search(name):
        return ""
    if PLACE.search(raw) is None:
        return match[0]
    if raw[0] in "\"'":
        raw = raw[1:-1]
    if name.startswith("on") or name == "srcdoc":
        return ""
    if name in _URL_ATTRIBUTES:
        return f'{match[1]}="{escape(url(unescape(raw), values) or "#")}"'
    if name == "style":
        text = PLACE.sub(lambda at: _NOT_STYLE.sub("", _value(at, values)), unescape(raw))
    else:
        text = PLACE.sub(lambda at: _clean(_value(at, values)), unescape(raw))
    return f'{match[1]}="{escape(text)}"'
