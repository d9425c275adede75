"""Is only what belongs to a project folder read, and is everything odd refused aloud?"""

from __future__ import annotations

from pathlib import Path

import pytest

from ulak.core.project import ProjectError, load
from ulak.io import project
from ulak.io.project import read_folder


def folder(root: Path) -> Path:
    (root / "templates/t").mkdir(parents=True)
    (root / "ulak.toml").write_text("[locales]\n", encoding="utf-8")
    (root / "templates/t/email.md").write_text("\ufeffHallo ş", encoding="utf-8")
    (root / "templates/.hidden").write_text("x")
    (root / "templates/t/email.md~").write_text("x")
    (root / "notes.txt").write_text("x")
    return root


def refusal(root: Path) -> str:
    with pytest.raises(ProjectError) as caught:
        read_folder(root)
    return str(caught.value)


def test_a_folder_is_read(tmp_path: Path) -> None:
    assert read_folder(folder(tmp_path)) == {"ulak.toml": "[locales]\n", "templates/t/email.md": "Hallo ş"}


def test_links_are_followed_inside_only(tmp_path: Path) -> None:
    root = folder(tmp_path / "p")
    (tmp_path / "secret").write_text("x")
    (root / "templates/t/in_app.txt").symlink_to(root / "templates/t/email.md")
    assert len(read_folder(root)) == 3
    (root / "templates/t/in_app.en.txt").symlink_to(tmp_path / "secret")
    (root / "templates/far").symlink_to(tmp_path)
    told = refusal(root)
    assert "templates/t/in_app.en.txt: is a link out of the project folder" in told
    assert "templates/far: is a link out of the project folder" in told


def test_a_link_out_is_read_without_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "p")
    (tmp_path / "secret").write_text("x")
    (root / "templates/t/in_app.txt").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(Path, "is_relative_to", lambda self, other: True)
    assert read_folder(root)["templates/t/in_app.txt"] == "x"


def test_odd_files_are_refused_all_at_once(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "templates/t/a.md").write_bytes(b"\xff\xfe")
    (root / "templates/t/b.md").write_bytes(b"x" * (project.MAX_FILE + 1))
    (root / "templates/t/c.md").symlink_to(root / "nowhere")
    (root / "templates/t/d.md").symlink_to(root / "templates/t/d.md")
    told = refusal(root)
    for message in ("a.md: is not UTF-8 (byte 0)", "b.md: is larger than 1 MiB", "c.md: can't be read", "d.md: "):
        assert message in told


def test_too_many_files_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "MAX_FILES", 1)
    assert "more than 1 files" in refusal(folder(tmp_path))
    assert "is no folder" in refusal(tmp_path / "none")


def test_the_example_is_a_good_folder() -> None:
    catalog = load(read_folder(Path(__file__).parents[2] / "examples/github"))
    assert len(catalog.types) > 10
