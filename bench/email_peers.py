"""How do others make the same email? Run as a script, with the peers on the path: NAME COUNT.

Needs nothing of Ulak, so that it also runs where Ulak is not installed. Prints {"cpu": seconds}.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

BODY = """Hello {{ data.name }},

your **order {{ data.number }}** has left us:

{% for item in data.lines -%}
- {{ item.count }} of {{ item.name }}
{% endfor %}
> {{ data.note }}

[Follow your parcel]({{ data.url }})
"""
MORE = "\n" + (
    "Some more of the text that every such message has, with _emphasis_ and a [link](https://example.com/help).\n\n" * 6
)
STYLE = (
    "body{margin:0;background:#f4f4f5;color:#18181b;font:16px/1.5 Helvetica,Arial,sans-serif}"
    ".c{max-width:600px;margin:0 auto;padding:24px;background:#fff}a{color:#1d4ed8}"
    "blockquote{margin:0;color:#52525b}td,th{padding:4px 12px;border:1px solid #d4d4d8}"
    "@media (prefers-color-scheme:dark){body{background:#18181b!important}}"
)


def data(number: int, lines: int) -> dict[str, Any]:
    """What the template is filled with."""
    return {
        "number": number,
        "name": f"Ada {number} Lovelace & Co",
        "note": "Leave it\nat the door",
        "url": f"https://shop.example/track/{number}?a=b&c=d",
        "goods": number * 1.5,
        "at": 1_790_000_000 + number * 60,
        "lines": [{"count": n + 1, "name": f"Thing <{n}>"} for n in range(lines)],
    }


def _page(inner: str) -> str:
    head = f"<head><meta charset=utf-8><title>Order</title><style>{STYLE}</style></head>"
    return f'<!doctype html><html>{head}<body><div class="c">{inner}</div></body></html>'


def premailer() -> Callable[[int], bytes]:
    """Jinja2 for the Markdown source, Markdown for the page, premailer for the CSS, EmailMessage for the bytes."""
    jinja2: Any = importlib.import_module("jinja2")
    markdown: Any = importlib.import_module("markdown")
    inline: Any = importlib.import_module("premailer").Premailer
    template = jinja2.Environment(autoescape=True).from_string(BODY + MORE)

    def make(number: int) -> bytes:
        source = template.render(data=data(number, 12))
        page = inline(_page(markdown.markdown(source)), cssutils_logging_level="CRITICAL").transform()
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"] = "Octo <octo@example.com>", "ada@example.com"
        message["Subject"] = f"Order {number} is on its way"
        message.set_content(source)
        message.add_alternative(page, subtype="html")
        return bytes(message)

    return make


def anymail() -> Callable[[int], bytes]:
    """Django's templates for text and page, no CSS put in, and the payload of anymail's own test backend."""
    settings: Any = importlib.import_module("django.conf").settings
    engine = {"BACKEND": "django.template.backends.django.DjangoTemplates"}
    settings.configure(
        TEMPLATES=[engine], EMAIL_BACKEND="anymail.backends.test.EmailBackend", INSTALLED_APPS=["anymail"]
    )
    importlib.import_module("django").setup()
    template_of: Any = importlib.import_module("django.template").engines["django"].from_string
    message_of: Any = importlib.import_module("django.core.mail").EmailMultiAlternatives
    markdown: Any = importlib.import_module("markdown")
    source = BODY.replace("-%}", "%}") + MORE
    text_of, page_of = template_of(source), template_of(_page(markdown.markdown(source)))

    def make(number: int) -> bytes:
        context = {"data": data(number, 12)}
        text, page = text_of.render(context), page_of.render(context)
        message = message_of(f"Order {number} is on its way", text, "Octo <octo@example.com>", ["ada@example.com"])
        message.attach_alternative(page, "text/html")
        message.tags, message.metadata = ["orders"], {"delivery": number}
        message.send()
        return str(page).encode()

    return make


if __name__ == "__main__":
    make = {"premailer": premailer, "anymail": anymail}[sys.argv[1]]()
    assert b"Thing &lt;11&gt;" in make(0).replace(b"=\r\n", b"")
    began = time.process_time()
    for number in range(int(sys.argv[2])):
        make(number)
    print(json.dumps({"cpu": time.process_time() - began}))
