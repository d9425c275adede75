"""Does every template get its values as text, whatever the values are, and within bounds?"""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Mapping
from contextlib import suppress
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import cpu_seconds
from ulak.core import engine
from ulak.core.content import fill
from ulak.core.content.email import EmailContent
from ulak.core.engine import Engine
from ulak.core.model import Channel
from ulak.core.project import load
from ulak.core.render import InAppContent, Renderer, RenderError

MAIN = """
[email]
from = "Octo <octo@example.com>"
reply_to = "help@example.com"
[types.t]
category = "c"
class = "transactional"
route = [{ channel = "in_app" }, { channel = "email", after = "1s" }]
"""
IN_APP = '+++\ntitle = "Hi {{ data.name }}"\nurl = "{{ data.url }}"\n+++\n{{ data.text }}'
EMAIL = """+++
subject = "Hi {{ data.name }}"
preheader = "{{ data.text }}"
+++
# Hello {{ data.name }}

Some **{{ data.text }}** and _{{ data.text }}_ and `{{ data.text }}`.

> {{ data.text }}

- {{ data.text }}

[{{ data.text }}]({{ data.url }} "{{ data.text }}") ![{{ data.text }}]({{ data.url }})

<p title="{{ data.text }}" class='{{ data.text }}' id={{ data.text }}>{{ data.text }}</p>

| a | b |
|---|---|
| {{ data.text }} | x |

    {{ data.text }}
"""
HTML = """+++
subject = "s"
+++
<html><body><!-- {{ data.text }} --><a href="{{ data.url }}" onclick="{{ data.text }}">{{ data.text }}</a>
<p style="color:{{ data.text }}" {{ data.text }}>{{ data.text }}</p><img src={{ data.url }}>
<style>p { color: {{ data.text }} }</style></body></html>"""

MJML = """+++
subject = "{{ data.name }}"
preheader = "{{ data.text }}"
+++
<mjml><mj-head><mj-title>{{ data.text }}</mj-title><mj-style>p { color: {{ data.text }} }</mj-style></mj-head><mj-body>
<mj-section background-url="{{ data.url }}" css-class="{{ data.text }}"><mj-column><mj-text>{{ data.text }}</mj-text>
<mj-image src="{{ data.url }}" alt="{{ data.text }}" href="{{ data.url }}"/>
<mj-button href="{{ data.url }}">{{ data.text }}
</mj-button><mj-raw><!--[if mso]><p title="{{ data.text }}">{{ data.text }}</p><![endif]--></mj-raw></mj-column>
</mj-section></mj-body></mjml>"""
UNTIDY = """+++
subject = "s"
+++
<table><tr>{{ data.text }}<td>{{ data.text }}</table><p title='{{ data.text }}'>{{ data.text }}</p>
<a href='{{ data.url }}>x</a> "{{ data.url }}" <b x={{ data.text }}y="1">{{ data.text }}<title>{{ data.text }}</title>
<textarea>{{ data.text }}</textarea><svg><a xlink:href="{{ data.url }}">{{ data.text }}</a></svg>"""


def renderer(email: str = EMAIL, in_app: str = IN_APP, ending: str = "md", locale: str = "") -> Renderer:
    name = f"templates/t/email{locale}.{ending}"
    main = MAIN + (f'[locales]\ndefault = "{locale[1:]}"\n' if locale else "")
    return Renderer(load({"ulak.toml": main, "templates/t/in_app.txt": in_app, name: email}))


def context(**data: Any) -> dict[str, Any]:
    ids: dict[str, Any] = {"id": "ntf_1", "type": "t"}
    return {"data": data, "user": {"id": "u", "locale": None}, "notification": ids, "actor": None}


class Shape(HTMLParser):
    """Elements and attribute names of a page, without their texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.urls: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "br":  # a new line in a value becomes one
            self.found.append((tag, *(name for name, _ in attrs)))
        self.urls += [value or "" for name, value in attrs if name in ("href", "src")]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    " onmouseover=alert(1) x=",
    "</p></div><h1>x",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/p.png)",
    "<https://evil.example>",
    "**bold** _it_ `code` # head\n# head\n\n    code\n> quote\n- item\n1. one\n---\n===",
    "a | b\n|---|\n|c|",
    "[x]: https://evil.example",
    "x\n\n[x]",
    "&lt;b&gt;&#60;b&#62;",
    "--><b>x</b>",
    "</style><b>x</b>",
    "red;background:url(https://evil.example)",
    "Zq0qZ Zq1qZ Zq99qZ",
    "{{ data.url }}{% for x in range(9) %}",
    "\x00\x1b[31m\u202e\u2028\ufeff",
    "```\ncode\n```",
    "\\",
    "a\\",
    "<!--",
    "<![CDATA[x]]>",
    "<p",
    "=?utf-8?q?hi=0D=0ABcc:_e@x.y?=",
    "a\r\nBcc: e@x.y",
]
URLS = [
    "javascript:alert(1)",
    " JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "\x01javascript:alert(1)",
    "javascript&colon;alert(1)",
    "&#106;avascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    'https://x.example/"><script>alert(1)</script>',
    "https://x.example/ onclick=alert(1)",
    "x' onclick='alert(1)",
    ")](javascript:alert(1)",
]


@pytest.mark.parametrize(
    ("template", "ending"),
    [(EMAIL, "md"), (HTML, "html"), (MJML, "mjml"), (UNTIDY, "html")],
    ids=["md", "html", "mjml", "untidy"],
)
@pytest.mark.parametrize("value", HOSTILE + URLS)
def test_no_value_makes_an_element_an_attribute_or_a_bad_link(template: str, ending: str, value: str) -> None:
    made = renderer(template, ending=ending)
    calm = made.email("t", None, context(name="x", text="x", url="https://x.example/"))
    wild = made.email("t", None, context(name=value, text=value, url=value))
    assert calm.html is not None
    assert wild.html is not None
    assert Shape(wild.html).found == Shape(calm.html).found
    for target in Shape(wild.html).urls:
        scheme, colon, _ = re.split("[/?#]", target.strip().lower())[0].partition(":")
        assert (scheme if colon else "") in ("", "http", "https", "mailto", "tel")
    assert "\n" not in wild.subject
    assert "\r" not in wild.subject
    assert not any(char in wild.text for char in "\x00\x1b\u202e\u2028")


@given(st.text(max_size=60))
def test_no_text_at_all_changes_the_shape_of_a_page(value: str) -> None:
    calm = MADE.email("t", None, context(name="x", text="x", url="https://x.example/"))
    wild = MADE.email("t", None, context(name="x" + value, text="x" + value, url="https://x.example/" + value))
    assert Shape(wild.html or "").found == Shape(calm.html or "").found


MADE = renderer()


def test_the_corpus_is_caught_when_values_are_not_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "escape", lambda text: text)
    with pytest.raises(AssertionError):
        test_no_value_makes_an_element_an_attribute_or_a_bad_link(EMAIL, "md", HOSTILE[0])


def test_bad_links_are_caught_when_schemes_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "SCHEMES", frozenset({"http", "https", "javascript"}))
    with pytest.raises(AssertionError):
        test_no_value_makes_an_element_an_attribute_or_a_bad_link(EMAIL, "md", URLS[0])


@pytest.mark.parametrize("value", URLS[:9])
def test_an_inbox_item_has_no_link_that_runs(value: str) -> None:
    url = MADE.in_app("t", None, context(name="x", url=value)).url
    assert url is None or ":" not in re.split("[/?#]", url)[0]


def test_a_plain_item_keeps_its_characters() -> None:
    item = MADE.in_app("t", None, context(name="A & <b>", text="1 < 2\nnext", url="/orders/1"))
    assert item == InAppContent("Hi A & <b>", "1 < 2\nnext", "/orders/1", None)


def test_a_markdown_email_becomes_html_and_text() -> None:
    body = """+++
subject = "s"
+++
# Hi {{ data.name }}

A [link]({{ data.url }}) and <{{ data.url }}>.\\
Line two, `{{ data.code }}`

> {{ data.quote }}

1. one
2. two **{{ data.code }}**

{{ data.none }}
"""
    made = renderer(body).email(
        "t", None, context(name="Ada", url="https://x.example/?a=1&b=c d", code="a-b_c*", quote="one\ntwo")
    )
    link = "https://x.example/?a=1&b=c%20d"
    text = f"Hi Ada\n\nA link ({link}) and https://x.example/?a=1&b=c d.\nLine two, a-b_c*\n\n"
    assert made.text == text + "> one\n> two\n\n1. one\n2. two a-b_c*\n"
    assert made.html is not None
    assert f'<a href="{link.replace("&", "&amp;")}" style="color: #1d4ed8;">link</a>' in made.html
    assert ">a-b_c*</code>" in made.html
    assert "<p>one<br>\ntwo</p>" in made.html
    assert "<p></p>" not in made.html


def test_an_html_email_has_a_text_part() -> None:
    body = '+++\nsubject = "s"\n+++\n<head><title>t</title></head><h1>Hi {{ data.n }}</h1><ul><li>a<li>b</ul>'
    body += '<a href="https://x.y/{{ data.n }}">go</a>'
    made = renderer(body, ending="html").email("t", None, context(n="A&B"))
    assert made.text == "Hi A&B\n\n- a\n- b\n\ngo (https://x.y/A&B)\n"


def test_an_autolink_of_the_author_keeps_to_the_schemes() -> None:
    made = renderer('+++\nsubject = "s"\n+++\nSee <{{ data.url }}>')
    good, bad = ((made.email("t", None, context(url=url)).html or "") for url in ("https://x.y", "javascript:x"))
    assert '<a href="https://x.y" style="color: #1d4ed8;">https://x.y</a>' in good
    assert "<p>See javascript:x</p>" in bad


def test_language_direction_and_defaults() -> None:
    made = renderer(locale=".ar")
    page = made.email("t", "ar-EG", context(name="x"))
    assert '<html lang="ar" dir="rtl" ' in (page.html or "")
    assert (page.language, page.sender, page.reply_to) == ("ar", "Octo <octo@example.com>", "help@example.com")


@pytest.mark.parametrize(
    ("name", "sender"),
    [
        ("Ada", "Ada via Octo <octo@example.com>"),
        ("Ada <evil@x.y>, b@c.d", "Ada evil@x.y b@c.d via Octo <octo@example.com>"),
        ('"a\r\nBcc: x', "a Bcc x via Octo <octo@example.com>"),
    ],
)
def test_a_sender_keeps_one_address_of_ours(name: str, sender: str) -> None:
    body = (
        '+++\nsubject = "s"\nfrom = "{{ data.name }} via Octo <octo@example.com>"\nreply_to = "{{ data.to }}"\n+++\nx'
    )
    made = renderer(body).email("t", None, context(name=name, to="no address"))
    assert made.reply_to == "help@example.com"
    assert made.sender in (sender, "Octo <octo@example.com>")


@pytest.mark.parametrize("field", ["items", "keys", "get", "pop", "copy", "__class__", "__init__"])
def test_no_method_of_ours_is_a_value(field: str) -> None:
    body = '+++\nsubject = "s"\n+++\n[{{ data.F }}][{{ data.list.F }}] {% for x in data.F %}x{% endfor %}'.replace(
        "F", field
    )
    assert renderer(body).email("t", None, context(list=[1], x=1)).text == "[][]\n"


def test_what_is_missing_becomes_nothing_and_the_preview_says_so() -> None:
    body = '+++\nsubject = "s{{ data.a.b.c }}"\n+++\n'
    body += "{{ data.x | length }}{{ data.y | first }}{{ data.z | upper }}{{ data.name }}"
    shown = renderer(body).preview("t", Channel.EMAIL, "tr", {"name": "Ada"})
    assert isinstance(shown.content, EmailContent)
    assert (shown.content.subject, shown.content.text) == ("s", "0Ada\n")
    assert shown.missing == ("data.a.b.c", "data.x", "data.y", "data.z")
    assert isinstance(renderer().preview("t", Channel.IN_APP, None, {}).content, InAppContent)


@pytest.mark.parametrize(
    ("body", "data", "reason"),
    [
        ("{{ data.n + 1 }}", {"n": "x"}, "template_failed"),
        ("{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}", {}, "template_too_slow"),
        ("{% for i in data.l %}{{ data.s }}{% endfor %}", {"l": [0] * 1000, "s": "x" * 60000}, "template_too_large"),
        ("{{ data.l | join(data.s) }}", {"l": ["a"] * 100_000, "s": "x" * 60000}, "template_too_large"),
        ("{{ data.s | replace('x', data.s) }}", {"s": "x" * 60000}, "template_too_large"),
        ("x", {"s": object()}, "data_not_plain"),
    ],
)
def test_a_failure_has_a_reason(body: str, data: Mapping[str, Any], reason: str) -> None:
    made = renderer(f'+++\nsubject = "s"\n+++\n{body}')
    with pytest.raises(RenderError) as caught:
        made.email("t", None, context(**data))
    assert caught.value.reason == reason


def test_types_and_channels_without_a_template() -> None:
    for call in (lambda: MADE.email("x", None, {}), lambda: MADE.preview("t", Channel.SMS, None, {})):
        with pytest.raises(RenderError):
            call()


# Past the check of the language, as if it had a hole: the engine itself has to hold.
BOMBS = [
    "{{ 'a' * 10**9 }}",
    "{{ range(10**9) }}",
    "{{ range(10**9) | list | length }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ 'a' | indent(10**9) }}",
    "{{ [0] | slice(10**8) | list }}",
    "{{ [0] | batch(10**8, 0) | list }}",
    "{{ [1, [2]] | tojson(indent=10**9) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9) %}x{% endfor %}{% endfor %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x | length }}",
    "{% for i in range(100000) %}" + "y" * 60000 + "{% endfor %}",
    "{% include 'x' %}",
    "{{ debug() }}",
    "{{ lipsum(n=3000) }}",
    "{{ cycler }}{{ data.clear() }}",
    "{{ 'x' | truncate(10**12) | replace('', 'y') }}",
    "{{ 2 ** 100000 }}",
    "{{ 1.5 | round(10**9) }}",
    "{% for i in data.list %}{% if " + " ~ ".join(["data.name"] * 30) + " == 1 %}{% endif %}{% endfor %}",
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_soon_and_small(bomb: str) -> None:
    def explode() -> None:
        made = Engine()
        with suppress(RenderError, RuntimeError):
            made.add("bomb", [bomb])
            made.draft("bomb", context(list=[1] * 1000, name="x" * 500))

    assert cpu_seconds(explode, under=0.05) < 0.05
    tracemalloc.start()  # what the whole process has ever used would depend on the tests before
    try:
        explode()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 64 << 20


def test_a_bomb_is_noticed_when_filters_are_left_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulak.core.template.REMOVED_FILTERS", ())
    made = Engine()
    made.add("bomb", ["{{ [0] | batch(3, 0) | list }}"])
    assert made.draft("bomb", context()).values == ["[[0, 0, 0]]"]


def test_large_and_odd_data_is_cut_down() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    body = '+++\nsubject = "s"\n+++\n{{ data.big }} {{ data.deep }} {{ data.text | length }} '
    body += "{{ data.yes }} {{ data.d }} {{ data.e }}"
    data = {"big": 10**30, "deep": deep, "text": "x" * 100_000, "yes": True, "d": {"a": [1]}, "e": {}}
    text = renderer(body).email("t", None, context(**data)).text
    assert text.startswith("1" + "0" * 30 + " [[")
    assert text.endswith(f' {engine.MAX_STRING} true {{"a": [1]}}\n')


@pytest.mark.parametrize(
    ("body", "differs"),
    [
        ("{{ data.number }}", False),
        ("{{ notification.id }} {{ actor }}", False),
        ("{{ user.id }}", True),
        ("{{ data.at | date }}", True),
    ],
)
@pytest.mark.parametrize("spelling", ["{}", "{{% set a = user %}}{}", "{{% with u = user %}}{}{{% endwith %}}"])
def test_a_template_that_never_looks_at_the_user_makes_one_item_for_all(
    body: str, differs: bool, spelling: str
) -> None:
    text = spelling.format(body)
    files = {
        "ulak.toml": '[types.order]\ncategory = "orders"\nclass = "transactional"\nroute = [{ channel = "in_app" }]\n',
        "templates/order/in_app.txt": f'+++\ntitle = "Order"\n+++\n{text}',
    }
    assert Renderer(load(files)).personal("order", None) == (differs or spelling != "{}")
