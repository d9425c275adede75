"""What page is a Markdown email's HTML put into when it names no layout, and how is a preheader hidden?

One column of at most 600 pixels that follows the reader's colours, language and direction of writing,
in the little HTML and CSS that mail programs agree on. Rules for dark colours are ``!important``: the
others stand in ``style`` attributes by the time they are read.
"""

from __future__ import annotations

import re
from html import escape

from ulak.core.locale import direction

_STYLE = (
    ":root{color-scheme:light dark;supported-color-schemes:light dark}"
    "body{margin:0;padding:0;background:#f4f4f5;color:#18181b;"
    "font:16px/1.5 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}"
    ".c{max-width:600px;margin:0 auto;padding:24px;background:#fff}"
    "a{color:#1d4ed8}img{max-width:100%;height:auto}pre,code{font-family:monospace;font-size:14px}"
    "pre{overflow-x:auto;padding:12px;background:#f4f4f5}"
    "blockquote{margin:0;padding-inline-start:12px;border-inline-start:3px solid #d4d4d8;color:#52525b}"
    "table{border-collapse:collapse}td,th{padding:4px 12px;border:1px solid #d4d4d8;text-align:start}"
    "@media (prefers-color-scheme:dark){body{background:#18181b!important;color:#f4f4f5!important}"
    ".c{background:#27272a!important}a{color:#93c5fd!important}pre{background:#18181b!important}"
    "blockquote{color:#a1a1aa!important;border-color:#52525b!important}}"
)
_PAD = "&#847;&zwnj;&nbsp;" * 20
"""Keeps mail programs from showing the start of the body behind a short preheader."""

_BODY = re.compile(r"<body\b(?:[^\"'>]|\"[^\"]*\"|'[^']*')*>", re.IGNORECASE)


def page(body: str, *, subject: str, preheader: str, language: str) -> str:
    """Wrap a body; ``subject`` and ``preheader`` are HTML, or placeholders for text."""
    return (
        f'<!doctype html>\n<html lang="{escape(language)}" dir="{direction(language)}">\n<head>\n'
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="supported-color-schemes" content="light dark">\n'
        f"<title>{subject}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{hidden(preheader)}"
        f'<div class="c">\n{body}</div>\n</body>\n</html>\n'
    )


def hidden(preheader: str) -> str:
    """What an inbox shows after the subject and a reader of the page does not see; HTML, or a placeholder."""
    if not preheader:
        return ""
    style = "display:none;max-height:0;overflow:hidden;mso-hide:all"
    return f'<div style="{style}">{preheader}{_PAD}</div>\n'


def with_preheader(html: str, preheader: str) -> str:
    """A page of the author's own with a preheader as the first thing of its body."""
    opened = _BODY.search(html)
    at = opened.end() if opened is not None else 0
    return html[:at] + hidden(preheader) + html[at:] if preheader else html
