"""What does the page behind a link look like?

Plain HTML that needs no script, loads nothing and shows no address; one form, posted to the page's own address. Words
of the project (categories) are escaped, and nothing a caller sent is ever repeated.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from ulak.core.choice import Offer, Stand
from ulak.core.locale import direction
from ulak.edge.links.words import WORDS

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;background:#f4f4f5;color:#18181b;font:1.125rem/1.5 system-ui,sans-serif}"
    "main{max-width:34rem;margin:8vh auto;padding:2rem;background:#fff;border-radius:.75rem}"
    "h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}"
    "fieldset{margin:0 0 1rem;padding:.5rem 1rem;border:1px solid #a1a1aa;border-radius:.5rem}"
    "legend{font-weight:600;padding:0 .25rem}label{display:block;padding:.375rem 0}"
    "input{width:1.25rem;height:1.25rem;margin-inline-end:.5rem;vertical-align:-.2rem}"
    "button{font:inherit;font-weight:600;padding:.625rem 1.25rem;border:0;border-radius:.5rem;"
    "background:#1d4ed8;color:#fff;cursor:pointer}"
    "button.quiet{background:none;color:inherit;border:1px solid #71717a}"
    "button:focus-visible,input:focus-visible{outline:3px solid #f59e0b;outline-offset:2px}"
    ".done{padding:.75rem 1rem;background:#dcfce7;color:#14532d;border-radius:.5rem}.note{color:#52525b}"
    "@media (prefers-color-scheme:dark){body{background:#18181b;color:#f4f4f5}main{background:#27272a}"
    ".done{background:#14532d;color:#dcfce7}.note{color:#d4d4d8}}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
"""The content security policy of every page: its own style, its own form, nothing else."""


def one(offer: Offer, language: str, *, done: bool) -> str:
    """The page of a link that covers one category on one channel; ``done`` says that it was just changed."""
    words = WORDS[language]
    named = {"category": escape(_readable(offer.category)), "channel": escape(words.get(offer.channel, offer.channel))}
    if offer.stand is Stand.ON:
        said = words["resumed"].format(**named) if done else ""
        title, button = words["ask"].format(**named), _button("off", words["stop"])
    else:
        undo = offer.stand is Stand.OFF_BY_LINK
        said = words["stopped" if undo else "off_elsewhere"].format(**named)
        title, button = words["title"], _button("on", words["again"], quiet=True) if undo else ""
    form = f'<form method="post">{button}</form>' if button else ""
    return _page(language, title, _done(said) + form)


def every(offers: Sequence[Offer], language: str, *, done: bool) -> str:
    """The page of a link that covers all choices."""
    words = WORDS[language]
    if not offers:
        return _page(language, words["title"], f"<p>{escape(words['nothing'])}</p>")
    groups: dict[str, list[str]] = {}
    for offer in offers:
        groups.setdefault(offer.category, []).append(_box(offer, language))
    sets = "".join(
        f"<fieldset><legend>{escape(_readable(category))}</legend>{''.join(boxes)}</fieldset>"
        for category, boxes in groups.items()
    )
    said = _done(words["saved"]) if done else ""
    form = f'<form method="post">{sets}{_button("save", words["save"])}</form>'
    return _page(language, words["title"], f"{said}<p>{escape(words['choose'])}</p>{form}")


def plain(kind: str, language: str) -> str:
    """A page that only says what is wrong: ``invalid`` or ``busy``."""
    words = WORDS[language]
    return _page(language, words[kind], f"<p>{escape(words[f'{kind}_text'])}</p>")


def _box(offer: Offer, language: str) -> str:
    words = WORDS[language]
    name = escape(words.get(offer.channel, offer.channel))
    value = f"{offer.category}/{offer.channel}"
    if offer.stand is Stand.OFF:
        note = f'<span class="note"> ({escape(words["fixed"])})</span>'
        return f'<label><input type="checkbox" disabled>{name}{note}</label>'
    checked = " checked" if offer.stand is Stand.ON else ""
    hidden = f'<input type="hidden" name="shown" value="{escape(value)}">'
    return f'{hidden}<label><input type="checkbox" name="on" value="{escape(value)}"{checked}>{name}</label>'


def _button(value: str, text: str, *, quiet: bool = False) -> str:
    look = ' class="quiet"' if quiet else ""
    return f'<button name="do" value="{value}"{look}>{escape(text)}</button>'


def _done(text: str) -> str:
    return f'<p class="done" role="status">{text}</p>' if text else ""


def _readable(category: str) -> str:
    return category.replace("_", " ").replace("-", " ")


def _page(language: str, title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="{language}" dir="{direction(language)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="robots" content="noindex">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )
