"""What stands in a project folder, and may each file of it be read?

Only ``ulak.toml`` and what lies below ``templates/`` is read; hidden files are passed over. A link that
leads out of the folder is refused: a template must not be able to show other files of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ulak.core.fields import Problem
from ulak.core.project import MAIN, ProjectError

MAX_FILE = 1024 * 1024
MAX_FILES = 1000
MAX_DEPTH = 4


def read_folder(path: str | Path) -> dict[str, str]:
    """Read the texts of a project folder by relative name; raise ``ProjectError`` with every bad file."""
    root = Path(path)
    if not root.is_dir():
        hint = "name a folder that has an ulak.toml"
        raise ProjectError((Problem(str(path), "", "is no folder that can be read", hint),))
    real = root.resolve()
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    for count, name in enumerate(_names(root), 1):
        if count > MAX_FILES:
            hint = "keep other files out of templates/"
            problems.append(Problem("templates", "", f"holds more than {MAX_FILES} files", hint))
            break
        found = _read(root, real, name)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            texts[name] = found
    if problems:
        raise ProjectError(tuple(problems))
    return texts


def _names(root: Path) -> Iterator[str]:
    if (root / MAIN).exists() or (root / MAIN).is_symlink():
        yield MAIN
    for folder, folders, files in os.walk(root / "templates"):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        here = Path(folder).relative_to(root)
        if len(here.parts) >= MAX_DEPTH:
            folders.clear()
        # os.walk names links to folders but does not enter them: let each be refused aloud.
        links = [each for each in folders if (Path(folder) / each).is_symlink()]
        for each in sorted([*files, *links]):
            if not each.startswith(".") and not each.endswith("~"):
                yield (here / each).as_posix()


def _read(root: Path, real: Path, name: str) -> str | Problem:
    file = root / name
    try:
        target = file.resolve(strict=True)
        if not target.is_relative_to(real):
            return Problem(name, "", "is a link out of the project folder", "copy the file into the folder")
        if not target.is_file():
            return Problem(name, "", "is no plain file", "remove it or replace it by a file")
        with target.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
        why = getattr(error, "strerror", None) or "its link leads nowhere"
        return Problem(name, "", f"can't be read: {why}", "check its permissions and its target")
    if len(data) > MAX_FILE:
        return Problem(name, "", "is larger than 1 MiB", "shorten it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Problem(name, "", f"is not UTF-8 (byte {error.start})", "save it as UTF-8")
