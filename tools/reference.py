"""How are the reference pages made that stand in the code as tables?

``python -m tools.reference`` writes them; tests fail when a committed page is not what this writes.
"""

from __future__ import annotations

from pathlib import Path

from tools import cli_page, settings_page
from ulak.core import project_page, session_page, states_page

PAGES = {
    "docs/reference/states.md": states_page.page,
    "docs/reference/project-file.md": project_page.page,
    "docs/reference/settings.md": settings_page.page,
    "docs/reference/cli.md": cli_page.page,
    "spec/socket.md": session_page.page,
}


def main() -> None:
    """Write every page below the root of the tree."""
    root = Path(__file__).parents[1]
    for name, page in PAGES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(page(), encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
