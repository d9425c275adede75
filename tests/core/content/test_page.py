"""Is a page whole, with its CSS in place, and is nothing read from anywhere to make it?"""

from __future__ import annotations

import socket
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ulak.core.content import fill, html_text
from ulak.core.content.page import CLIPPED, LARGE, Frame, Pages, Words, size_warning
from ulak.core.engine import RenderError

WORDS = Words("Zq8qZ", "Zq9qZ", "en")
MJML = """<mjml><mj-head><mj-preview>{pre}</mj-preview></mj-head><mj-body><mj-section background-url="Zq0qZ">
<mj-column><mj-text>Hi Zq1qZ, {content}</mj-text><mj-button href="Zq2qZ">Go</mj-button></mj-column></mj-section>
</mj-body></mjml>"""
_COLUMN = "<mj-section><mj-column>"
_END = "</mj-column></mj-section></mj-body></mjml>"


def page(body: str, kind: str = "html", frame: Frame | None = None) -> str:
    pages = Pages()
    return pages.plan(pages.whole(body, kind, frame, WORDS), breaks=False).fill(
        ["https://x.example/a.png", "<A>", "javascript:x", "3", "", "", "", "", "Sub", "Pre"]
    )


def test_rules_become_attributes_and_what_cannot_stays_in_the_sheet() -> None:
    made = page(
        "<html><head><style>p{color:red}a:hover{top:0}@media (max-width:9px){p{top:1px!important}}</style></head>"
        '<body><p style="margin:0">x</p></body></html>'
    )
    assert '<p style="color: red;margin: 0">' in made
    assert "a:hover" in made
    assert "@media (max-width:9px){p{top:1px!important}}" in made
    assert "p{color:red}" not in made


def test_a_markdown_page_has_dark_colours_that_win() -> None:
    made = page("<p>x</p>", "md")
    assert '<meta name="color-scheme" content="light dark">' in made
    assert "background:#18181b!important" in made
    assert "<title>Sub</title>" in made
    assert "mso-hide:all" in made


def test_loops_in_tables_keep_their_rows() -> None:
    made = page("<table><tr><td>a</td></tr><tr><td>Zq3qZ</td></tr></table>")
    assert "<tr><td>a</td></tr><tr><td>3</td></tr>" in made


def test_no_style_sheet_is_read_from_disk_or_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.css").write_text("p{color:green}")
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        port = server.getsockname()[1]
        for href in ("s.css", f"{tmp_path}/s.css", f"file://{tmp_path}/s.css", f"http://127.0.0.1:{port}/s.css"):
            made = page(f'<link rel="stylesheet" href="{href}"><style>@import "{href}";</style><p>x</p>')
            assert "<p>x</p>" in made
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_file_is_read_when_the_guard_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: what the option is for. css-inline reads local files with the switch that speaks of remote ones."""
    from css_inline import CSSInliner

    (tmp_path / "s.css").write_text("p{color:green}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ulak.core.content.page.CSSInliner", lambda **_: CSSInliner(keep_link_tags=True))
    assert "green" in page('<link rel="stylesheet" href="s.css"><p>x</p>')


def test_mjml_becomes_html_without_fonts_from_elsewhere() -> None:
    made = page(MJML.format(pre="Pre", content="there"), "mjml")
    assert "Hi &lt;A&gt;, there" in made
    assert 'href="#"' in made  # the scheme was not on the list
    assert 'background="https://x.example/a.png"' in made
    assert "url(&#x27;https://x.example/a.png&#x27;)" in made
    assert '<v:fill position="0.5, 0" origin="0.5, 0" src="https://x.example/a.png"' in made
    assert 'lang="en" dir="ltr"' in made
    assert "googleapis" not in made


def test_markdown_stands_in_an_mjml_layout() -> None:
    frame = Frame("mjml", MJML.format(pre="ZqpreheaderqZ", content="ZqcontentqZ"))
    made = page("<p>body Zq3qZ</p>", "md", frame)
    assert ">body 3</p>" in made
    assert made.count("Pre") == 1


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ("<mjml><mj-body><mj-section></mj-body></mjml>", "mjml", "mjml_broken"),
        ("<p>no mjml</p>", "mjml", "mjml_broken"),
        ("", "mjml", "mjml_broken"),
        ("<mjml><mj-body><mj-sction></mj-sction></mj-body></mjml>", "mjml", "mjml_broken"),
        (f"<mjml><mj-body>{_COLUMN}<mj-buton>Go</mj-buton>{_END}", "mjml", "mjml_broken"),
        (f"<mjml><mj-body>{_COLUMN}<mj-text><mj-button>Go</mj-button></mj-text>{_END}", "mjml", "mjml_broken"),
        ('<mjml><mj-head><mj-include path="/etc/passwd"/></mj-head><mj-body/></mjml>', "mjml", "mjml_broken"),
        ('<p title="Zq1qZ>Zq1qZ</p> "Zq2qZ" <b x="1">x</b>', "html", "html_broken"),
        ("<p title='Zq1qZ>Zq1qZ</p> 'Zq2qZ' <b x='1'>x</b>", "html", "html_broken"),
        ('<a href="x""Zq1qZ">x</a>', "html", "html_broken"),
        ("<iframe></iframe>", "html", "html_unsupported"),
        ("<script>alert(1)</script>", "html", "html_unsupported"),
        ("<SCRIPT src=x>", "md", "html_unsupported"),
    ],
)
def test_a_broken_page_has_a_reason(body: str, kind: str, reason: str) -> None:
    with pytest.raises(RenderError) as caught:
        page(body, kind)
    assert caught.value.reason == reason


def test_an_element_that_mjml_does_not_know_is_named_and_a_comment_may_hold_one() -> None:
    with pytest.raises(RenderError) as caught:
        page(f"<mjml><mj-body>{_COLUMN}<mj-buton>Go</mj-buton>{_END}", "mjml")
    assert "<mj-buton>" in caught.value.detail
    made = page(f"<mjml><mj-body>{_COLUMN}<mj-text>Hi</mj-text><!-- <mj-buton>Go</mj-buton>\n -->{_END}", "mjml")
    assert ">Hi</div>" in made


def test_css_that_would_get_a_page_cut_off_stays_in_the_sheet() -> None:
    rows = "<p>x</p>" * 3000
    rule = "p{color:red;margin:0 1px 2px 3px;padding:0 1px 2px 3px;font-family:Helvetica,Arial,sans-serif}"
    small, large = page(f"<style>{rule}</style><p>x</p>"), page(f"<style>{rule}</style>{rows}")
    assert '<p style="' in small
    assert '<p style="' not in large
    assert rule in large
    assert len(large) < CLIPPED


def test_a_large_page_is_warned_of() -> None:
    assert size_warning("x" * (LARGE - 1)) is None
    assert "90 kB" in (size_warning("x" * LARGE) or "")
    assert "102 kB" in (size_warning("ü" * (CLIPPED // 2)) or "")


def test_what_only_outlook_reads_is_filled_and_other_comments_around_values_go() -> None:
    skeleton = (
        '<!--[if mso]><a href="Zq0qZ" title=Zq1qZ onclick="Zq0qZ">Zq1qZ</a><![endif]--><!-- Zq0qZ -->'
        "<!--[if !mso]><!--><b>Zq1qZ</b><!--<![endif]--><!-- kept -->"
    )
    made = fill.html(skeleton, ["javascript:x", '--><b x="'])
    assert '<!--[if mso]><a href="#" title="--&gt;&lt;b x=&quot;" >--&gt;&lt;b x=&quot;</a><![endif]-->' in made
    assert "<!--[if !mso]><!--><b>--&gt;" in made
    assert made.endswith("<!--<![endif]--><!-- kept -->")
    assert made.count("Zq") == 0


def test_values_in_data_for_machines_stay_inside_their_quotes() -> None:
    made = fill.html('<script type="application/ld+json">{"a": "Zq0qZ"}</script>', ['"}</script><b>\n\\'])
    assert made == (
        '<script type="application/ld+json">{"a": "\\"}\\u003c/script\\u003e\\u003cb\\u003e\\n\\\\"}</script>'
    )


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("https://x.y/a b.png", "url('https://x.y/a%20b.png')"),
        ("/x');background:url('//evil.example", "url('/x%27%29%3Bbackground:url%28%27//evil.example')"),
        ("javascript:x", "none"),
    ],
)
def test_an_address_in_a_style_stays_one(value: str, made: str) -> None:
    assert (
        fill.html('<p style="background:url(Zq0qZ)">', [value]).replace("&#x27;", "'")
        == f'<p style="background:{made}">'
    )


def test_what_is_not_shown_is_not_read_aloud() -> None:
    skeleton = (
        '<div style="display: none">pre<div>x</div></div><p>a Zq0qZ</p><p hidden>b</p><style>c{}</style>'
        '<a href="https://x.y/Zq0qZ">https://x.y/Zq0qZ</a> <a href="Zq1qZ">words</a> <img alt="pic" hidden>'
    )
    assert html_text.plan(skeleton).fill(["one\ntwo", "https://z"]).split("\n") == [
        "a one", "two", "", "b", "", "https://x.y/one", "two (https://x.y/one%0Atwo) words (https://z) pic", "",
    ]  # fmt: skip


class Shape(HTMLParser):
    """Elements and attribute names of a page, and where its links lead."""

    def __init__(self, made: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.urls: list[str] = []
        self.feed(made)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":  # a value in `<…>` is a link or text, as its scheme has it
            self.found.append((tag, *(name for name, _ in attrs)))
        self.urls += [value or "" for name, value in attrs if name in ("href", "src")]


PIECES = st.sampled_from(
    """<|>|"|'|=|/| |<p |<p>|</p>|<a href=|</a>|title=|style="|onclick="|<!--|-->|<!--[if mso]>|<![endif]-->
|<style>|</style>|<title>|</title>|<table>|<td>|</table>|<textarea>|<svg>|<math>|&quot;|<pre>|</script>|url(|)|x|</
|<script type="application/ld+json">|Zq0qZ|Zq0qZ|Zq0qZ|Zq1qZ| href="Zq1qZ"|<Zq1qZ>|<select>|<template>|<img src=|]]>
|<![CDATA[|<?xml|<xmp|<noscript>""".split("|")  # noqa: SIM905  # a list of them fills the page
)
EVIL = st.sampled_from(
    ["<i>x</i>", '"><img src=x onerror=1>', "' onclick='x", " onclick=x y=", "--><i>", "</style><i>", "</script><i>",
     "</title><i>", "x');y:url('z", "javascript:x", "Zq0qZ Zq1qZ", "]]><i>", "<![endif]--><i>", "&lt;i&gt;"]
)  # fmt: skip
PAGES = Pages()


@given(st.lists(PIECES, min_size=3, max_size=25), EVIL)
@example(['<a href="x"', '"', "Zq1qZ", '">'], " onclick=x y=")
def test_whatever_the_author_wrote_a_value_is_only_a_value(pieces: list[str], value: str) -> None:
    check_shape("".join(pieces), value)


def check_shape(skeleton: str, value: str) -> None:
    try:
        plan = PAGES.plan(skeleton, breaks=False)
    except RenderError:
        return  # refused when the folder is checked
    wild = Shape(plan.fill([value, value]))
    assert wild.found == Shape(plan.fill(["x", "https://x/"])).found
    assert not any(target.strip().lower().startswith("javascript:") for target in wild.urls)


def test_a_missing_quote_would_let_a_value_out_if_it_were_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: what the look at the parsed page is for."""
    monkeypatch.setattr("ulak.core.content.page._check", lambda page: None)
    with pytest.raises(AssertionError):
        check_shape("<math><p Zq0qZ</p>/<x-->", " onclick=x y=")
