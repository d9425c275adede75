"""Does the link checker find what is broken, and nothing else?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check_links import broken, main, read, slug


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("[a](gone.md)", "no such file"),
        ("![a](gone.png)", "no such file"),
        ("[a]\n\n[a]: gone.md", "no such file"),
        ('<img src="gone.svg">', "no such file"),
        ('text <a href="docs/gone.md">a</a>', "no such file"),
        ("[a](docs/b.md#nothing)", "no such heading"),
        ("[a](#nothing)", "no such heading"),
        ("[a](../outside.md)", "leaves the tree"),
        ("| a |\n|---|\n| [a](gone.md) |", "no such file"),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, link: str, reason: str) -> None:
    write(tmp_path / "tree", a=link, docs__b="# B")
    write(tmp_path, outside="")
    (problem,) = broken(tmp_path / "tree")
    assert problem.startswith("a.md: ")
    assert problem.endswith(reason)


@pytest.mark.parametrize(
    "link",
    [
        "[a](docs/b.md)",
        "[a](docs)",
        "[a](docs/b.md#a-heading-with-code-in-it)",
        "[a](docs/b.md#twice-1)",
        "[a](docs/b.md#mark)",
        "# Here\n\n[a](#here)",
        "[a](https://example.com/gone.md) <mailto:a@example.com> [b](//example.com/x)",
        "`[a](gone.md)`",
        "```\n[a](gone.md)\n```",
    ],
)
def test_a_good_link_is_left_alone(tmp_path: Path, link: str) -> None:
    write(tmp_path, a=link, docs__b='# A heading, with `code` in it!\n\n## Twice\n\n## Twice\n\n<a id="mark"></a>\n')
    assert list(broken(tmp_path)) == []


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, **{".venv__x": "[a](gone.md)"})
    assert list(broken(tmp_path)) == []


def test_anchors_follow_github() -> None:
    assert slug("Where do I change X?") == "where-do-i-change-x"
    assert slug("Größe & `code` -- 2.5") == "größe--code----25"
    assert read("# Setext\n\nTitle\n=====\n").anchors == {"setext", "title"}


def test_the_exit_status_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, a="[a](gone.md)")
    assert main([str(tmp_path)]) == 1
    assert "gone.md" in capsys.readouterr().out
    write(tmp_path, a="")
    assert main([str(tmp_path)]) == 0
