"""Do the import contracts and banned calls catch what they forbid? Each is broken on purpose in a copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

PLANTED = {
    "layers": ("core/planted.py", "import ulak.providers.contract"),
    "stages": ("flow/first/__init__.py", "import ulak.flow.second"),
    "doors": ("edge/first/__init__.py", "import ulak.edge.second"),
    "entries": ("edge/third/__init__.py", "import ulak.flow.second.inner"),
    "vendors": ("providers/first/one.py", "import ulak.providers.first.two"),
    "wire": ("io/planted.py", "import ulak.providers.first.one"),
    "pure": ("providers/second/one.py", "import time"),
    "database": ("flow/third/__init__.py", "import asyncpg"),
    "outside": ("edge/fourth/__init__.py", "import aiohttp"),
    "cycles": ("core/ring/__init__.py", "import ulak.core.model\n"),
}
"""Contract to a module that breaks it."""

NEEDED = {
    "flow/second/__init__.py": "",
    "flow/second/inner.py": "",
    "edge/second/__init__.py": "",
    "providers/first/__init__.py": "",
    "providers/first/two.py": "",
    "providers/second/__init__.py": "",
    "core/ring/leaf.py": "import ulak.core.chain.leaf",
    "core/chain/__init__.py": "",
    "core/chain/leaf.py": "import ulak.core.ring.leaf",
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says about a copy in which every contract is broken."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for name, text in [*NEEDED.items(), *PLANTED.values()]:
        path = tree / "src" / "ulak" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    result = subprocess.run(
        [BIN / "lint-imports", "--no-logo", "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree / "src"), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout


def contract_names() -> dict[str, str]:
    """Contract id to name, as pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return dict(re.findall(r'^id = "(\w+)"\nname = "([^"]+)"', text, re.MULTILINE))


def test_every_contract_has_its_trespasser() -> None:
    assert contract_names().keys() == PLANTED.keys()


@pytest.mark.parametrize("contract", PLANTED)
def test_a_breach_is_caught(verdicts: str, contract: str) -> None:
    assert f"{contract_names()[contract]} BROKEN" in verdicts


@pytest.mark.parametrize(
    "line",
    [
        "from datetime import datetime as d\nd.now()",
        "import datetime as dt\ndt.datetime.utcnow()",
        "from uuid import uuid4 as u\nu()",
        "from time import monotonic as m\nm()",
        "from random import Random as R\nR()",
        "import os as o\no.environ",
        "from os import environ as e\ne.get('A')",
        "import secrets\nsecrets.token_bytes()",
    ],
)
@pytest.mark.parametrize(("layer", "caught"), [("core", True), ("providers/email", True), ("io", False)])
def test_clock_chance_and_environment_are_banned_from_the_pure_layers(line: str, layer: str, caught: bool) -> None:
    result = subprocess.run(
        [BIN / "ruff", "check", "--select", "TID251", "--stdin-filename", f"src/ulak/{layer}/planted.py", "-"],
        cwd=ROOT,
        input=line,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ("TID251" in result.stdout) is caught, result.stdout + result.stderr
