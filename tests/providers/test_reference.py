"""Is the docs' page on outcomes the one that the tables make?"""

from __future__ import annotations

from pathlib import Path

from ulak.providers.reference import render
from ulak.providers.registry import PROVIDERS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "outcomes.md"


def test_the_committed_page_is_the_rendered_one() -> None:
    assert PAGE.read_text("utf-8") == render(PROVIDERS), "run: python -m ulak.providers.reference > " + PAGE.name


def test_every_row_stands_on_the_page() -> None:
    page = render(PROVIDERS)
    for module in PROVIDERS.values():
        for row in module.OUTCOMES:
            assert f"| {row.answer} | `{row.kind}` |" in page
