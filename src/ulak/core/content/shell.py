"""What page is a Markdown email's HTML put into?

One column of at most 600 pixels that follows the reader's colours, language and direction of writing,
in the little HTML and CSS that mail programs agree on.
"""

from __future__ import annotations

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
    "@media (prefers-color-scheme:dark){body{background:#18181b;color:#f4f4f5}.c{background:#27272a}"
    "a{color:#93c5fd}pre{background:#18181b}blockquote{color:#a1a1aa;border-color:#52525b}}"
)
_PAD = "&#847;&zwnj;&nbsp;" * 20
"""Keeps mail programs from showing the start of the body behind a short preheader."""


def page(body: str, *, subject: str, preheader: str, language: str) -> str:
    """Wrap a filled body; ``subject`` and ``preheader`` are plain text."""
    hidden = ""
    if preheader:
        style = "display:none;max-height:0;overflow:hidden;mso-hide:all"
        hidden = f'<div style="{style}">{escape(preheader)}{_PAD}</div>\n'
    return (
        f'<!doctype html>\n<html lang="{escape(language)}" dir="{direction(language)}">\n<head>\n'
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="supported-color-schemes" content="light dark">\n'
        f"<title>{escape(subject)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{hidden}"
        f'<div class="c">\n{body}</div>\n</body>\n</html>\n'
    )
