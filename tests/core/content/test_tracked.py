from __future__ import annotations

import pytest

from tests.support import cpu_seconds
from ulak.core.content.tracked import clicks, fit, shown

OWN = "https://n.example.com"


def over(url: str) -> str | None:
    return f"{OWN}/t/{len(url)}" if "long" not in url else None


@pytest.mark.parametrize(
    ("html", "made"),
    [
        ('<a href="https://a.example/?x=1&amp;y=2">x</a>', f'<a href="{OWN}/t/26">x</a>'),
        ('<a class="b" href="http://a.example" title="x">x</a>', f'<a class="b" href="{OWN}/t/16" title="x">x</a>'),
        (f'<a href="{OWN}/u/1">x</a>', None),
        (f'<a href="{OWN}/shop">x</a>', f'<a href="{OWN}/t/26">x</a>'),
        ('<a href="mailto:a@b.co">x</a>', None),
        ('<a href="https://long.example">x</a>', None),
        ('<a href="#top">x</a>', None),
        ('<img src="https://a.example/x.png">', None),
        ('<abbr href="https://a.example">x</abbr>', None),
        ("https://a.example", None),
    ],
)
def test_links_of_the_page_lead_over_ours(html: str, made: str | None) -> None:
    assert clicks(html, over, (f"{OWN}/u/", f"{OWN}/t/")) == (html if made is None else made)


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://a.example/x?y=%20#z", True),
        ("http://a.example", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//a.example", False),
        ("https://", False),
        ("https://[x", False),
        ("https://a.example/\r\nSet-Cookie: x", False),
        ("https://a.example/ü", False),
    ],
)
def test_where_a_link_may_lead(url: str, fits: bool) -> None:
    assert fit(url) is fits


def test_a_page_of_open_tags_takes_no_longer_than_its_length() -> None:
    """Reading each of them to the end of the page took minutes."""
    page = "<a " * 100_000
    assert clicks(page, over, (OWN,)) == page
    assert cpu_seconds(lambda: clicks(page, over, (OWN,)), under=1.0) < 1.0


def test_the_picture_stands_at_the_end_of_the_page() -> None:
    assert shown("<p>x</p></BODY></html>", "u?a&b").startswith('<p>x</p><img src="u?a&amp;b"')
    assert shown("<p>x</p>", "u").endswith('style="border:0">')
