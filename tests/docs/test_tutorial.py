"""Do the tutorial's commands do what it says, in the order in which it says them?"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
FOLDER = Path("/tmp/shop")
BLOCK = re.compile(r"^```sh(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"API +(http://\S+)/v1\b")
KEY = re.compile(r"API key +(ulk_\S+)")

pytestmark = [pytest.mark.pg, pytest.mark.slow]


def _blocks() -> list[tuple[str, str]]:
    return [(kind, text) for kind, text in BLOCK.findall(TUTORIAL.read_text("utf-8"))]


def _run(script: str, environment: dict[str, str]) -> str:
    head = f'set -eu\nulak() {{ "{ROOT}/ulak.sh" "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", head + script], check=False, capture_output=True, text=True, env=environment, timeout=90
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def folder() -> Iterator[Path]:
    """The folder that the tutorial names; a reader's own is left alone."""
    if FOLDER.exists():
        pytest.skip(f"{FOLDER} exists: somebody is at the tutorial")
    yield FOLDER
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture
def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ULAK_")}
    return clean | {"ULAK_VENV": os.environ.get("ULAK_VENV", ""), "PYTHONPATH": str(ROOT / "src")}


def _serve(log: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], str, str]:
    """What stands in the second terminal, on free ports; the process, its address and its key."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [ROOT / "ulak.sh", "dev", "--port", "0", "--mail-port", "0"],
            cwd=FOLDER,
            env={**environment, "ULAK_DATA_DIR": str(FOLDER / ".ulak")},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        text = log.read_text("utf-8")
        address, key = ADDRESS.search(text), KEY.search(text)
        if "Ctrl-C ends it" in text and address and key:
            return process, address[1], key[1]
        time.sleep(0.1)
    process.kill()
    raise AssertionError(log.read_text("utf-8"))


def test_every_command_of_the_tutorial(folder: Path, environment: dict[str, str], tmp_path: Path) -> None:
    blocks = _blocks()
    (at,) = (i for i, (kind, _) in enumerate(blocks) if kind == "background")
    before = "\n".join(text for kind, text in blocks[:at] if not kind)
    after = "\n".join(text for kind, text in blocks[at + 1 :] if not kind)
    first = next(text for kind, text in blocks if not kind)
    assert "nothing wrong: 1 types, 3 templates, 1 accounts" in _run(before, environment)
    process, url, key = _serve(tmp_path / "log", environment)
    try:
        told = _run(f"{first}\n{after}", {**environment, "ULAK_URL": url, "ULAK_API_KEY": key})
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert '"accepted":2,"problems":[]' in told
    assert re.search(r"email to ada: accepted", told)
    assert re.search(r"email to nazim: accepted", told)
    assert '"opted_out"' in told
    assert "version 2 is now in force: 1 types, 3 templates, 1 accounts" in told
    assert "Nothing is in trouble." in told
