"""Does each dependency have its reason and its pin, and do the pins hold for every machine?"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"jwt": "pyjwt", "mjml": "mjml-python"}
"""Modules that are called otherwise than the package they come in."""


def declared() -> set[str]:
    """The names that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {re.split(r"[<>=;\[ ]", line)[0] for line in project["dependencies"]}


def imports(file: Path) -> set[str]:
    """The top-level packages that a file imports, at its head or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def test_the_record_gives_a_reason_for_each() -> None:
    record = (ROOT / "docs/decisions/0002-dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (.*) \| (.*) \|$", record, re.MULTILINE)
    assert {name for name, *_ in rows if name not in {"package", "---"}} == declared()
    assert all(what and why for _, what, why in rows)


@pytest.mark.parametrize("file", ["run.txt", "dev.txt"])
def test_the_pins_are_complete_and_name_no_machine(file: str) -> None:
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z0-9-]+)==[^\n]* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    assert declared() <= set(pins)
    assert not re.search(r"https?://|file:|--index|--find-links|(?<![\w#])/[a-z]+/", text)


def test_development_pins_contain_the_others() -> None:
    def pinned(file: str) -> set[str]:
        return set(
            re.findall(r"^[a-z0-9-]+==\S+", (ROOT / "requirements" / file).read_text(encoding="utf-8"), re.MULTILINE)
        )

    assert pinned("run.txt") <= pinned("dev.txt")


def test_what_the_code_imports_is_declared() -> None:
    """What only development installs would be missing on a user's machine."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
    imported = {name for file in files for name in imports(file)}
    ours = sys.stdlib_module_names | {"ulak", "bench"}  # `ulak bench` says so where the benches are missing
    brought = {"yarl"}  # aiohttp's own type of URLs, and a part of its interface
    assert {PACKAGES.get(name, name).replace("_", "-") for name in imported - ours - brought} <= declared()


def test_a_node_needs_no_package_for_sockets() -> None:
    """uvicorn looks for ``websockets`` or ``wsproto`` unless it is given a protocol, as ours gives it one."""
    blind = "import sys; sys.modules['websockets'] = sys.modules['wsproto'] = None; "
    code = (
        "import uvicorn, ulak.doors; uvicorn.Config(None, ws=object, http=ulak.doors.HttpGuard, lifespan='off').load()"
    )
    subprocess.run([sys.executable, "-c", blind + code], check=True, timeout=60)
