"""How do the links and the showing of an email tell of themselves, where its type asks for it?

The HTML is complete and was written by a serialiser: attributes stand in double quotes, values in them are escaped.
Only links to http and https addresses in ``<a href>`` are exchanged; the text part stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape
from urllib.parse import urlsplit

Make = Callable[[str], str | None]
"""The tracked address of an address; None where there can be none."""

_LINK = re.compile(r'(<a\b[^<>]*?\shref=")(https?://[^"]*)(")', re.IGNORECASE)
_END = re.compile(r"</body\s*>", re.IGNORECASE)


def fit(url: str) -> bool:
    """Whether a link may lead there: an http or https address in printable ASCII, which can end no header."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def clicks(html: str, make: Make, own: tuple[str, ...]) -> str:
    """Lead links over ours; those to addresses that begin with one of ``own`` are ours already."""

    def exchange(match: re.Match[str]) -> str:
        url = unescape(match[2])
        made = make(url) if fit(url) and not url.startswith(own) else None
        return match[0] if made is None else f"{match[1]}{escape(made)}{match[3]}"

    return _LINK.sub(exchange, html)


def shown(html: str, url: str) -> str:
    """Let a picture of one pixel tell that the page is shown."""
    picture = f'<img src="{escape(url)}" width="1" height="1" alt="" style="border:0">'
    ends = list(_END.finditer(html))
    at = ends[-1].start() if ends else len(html)
    return f"{html[:at]}{picture}{html[at:]}"
