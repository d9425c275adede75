"""Are the reference pages what the code says, and is every variable on them?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import settings_page
from tools.reference import PAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == PAGES[name](), "run python -m tools.reference"


def test_every_variable_that_the_code_reads_is_on_the_page() -> None:
    page = settings_page.page()
    files = [ROOT / "ulak.sh", *(ROOT / "src").rglob("*.py")]
    named = {name for file in files for name in re.findall(r"\bULAK_[A-Z][A-Z_]*[A-Z]\b", file.read_text("utf-8"))}
    assert not {name for name in named if f"`{name}`" not in page}


def test_no_variable_of_the_page_is_made_up() -> None:
    code = "\n".join(file.read_text("utf-8") for file in [ROOT / "ulak.sh", *(ROOT / "src").rglob("*.py")])
    assert all(name in code for name in settings_page.OTHERS)
