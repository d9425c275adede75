"""Is what ships small, made from the source that is read, and typed as it says?"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.rig import CLIENT
from tests.support import program

LIMIT = 5_000
"""Bytes, gzipped, of the file that browsers fetch."""

USE = """
import { connect, type Item } from "./ulak.js";
import { subscribe, supported, unsubscribe } from "./push.js";
const inbox = connect({ user: "ada", token: async () => "t", store: true });
const stop: () => void = inbox.on("items", ({ added, live }) => added.forEach((item: Item) => item.title && live));
inbox.on("status", (status) => status.state === "waiting" && status.wait);
const done: Promise<void> = inbox.read(inbox.items[0]?.id);
void inbox.seen({ up_to: inbox.revision }).then(stop);
const device: string | undefined = supported() ? (await subscribe({ token: async () => "t" }))?.device : undefined;
await unsubscribe({ token: async () => "t", url: "https://u.example", worker: "/w.js", app: "shop", version: "1" });
"""
MISUSE = """
import { connect } from "./ulak.js";
import { subscribe } from "./push.js";
const inbox = connect({ user: "ada" });
inbox.on("itmes", () => {});
inbox.read(7);
inbox.unread = 0;
void subscribe({ url: "https://ulak.example.com" });
"""


def run(tool: Path, *arguments: str, cwd: Path = CLIENT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(program('node', package='nodejs')).parent}:{os.environ['PATH']}"}
    command = [str(tool), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_what_browsers_fetch_is_small() -> None:
    shipped = (CLIENT / "ulak.js").read_bytes()
    assert len(gzip.compress(shipped, 9, mtime=0)) <= LIMIT


def test_it_needs_nothing_and_its_lock_names_no_place() -> None:
    package = json.loads((CLIENT / "package.json").read_text())
    assert "dependencies" not in package
    assert package["type"] == "module"
    lock = (CLIENT / "package-lock.json").read_text()
    assert "resolved" not in lock
    assert "//" not in "".join(line for line in lock.splitlines() if '"url"' not in line and "integrity" not in line)
    exports = package["exports"].values()
    targets = [place for each in exports for place in ([each] if isinstance(each, str) else each.values())]
    assert len(targets) == 5
    for target in targets:
        assert (CLIENT / target).exists()


def test_what_ships_is_made_from_the_source(tools: Path, tmp_path: Path) -> None:
    command: str = json.loads((CLIENT / "package.json").read_text())["scripts"]["build"]
    made = tmp_path / "ulak.js"
    shell = Path(program("sh", package="dash"))
    done = run(shell, "-c", f"{tools}/{command.replace('--outfile=ulak.js', f'--outfile={made}')}")
    assert done.returncode == 0, done.stderr
    assert made.read_text() == (CLIENT / "ulak.js").read_text(), "run `npm run build` in clients/js"


@pytest.mark.parametrize("project", ["jsconfig.json", "jsconfig.worker.json"])
def test_the_source_is_typed(tools: Path, project: str) -> None:
    done = run(tools / "tsc", "--project", project)
    assert done.returncode == 0, done.stdout


def test_the_declared_types_let_use_pass_and_misuse_not(tools: Path, tmp_path: Path) -> None:
    for name in ("ulak.d.ts", "push.d.ts"):
        shutil.copy(CLIENT / name, tmp_path)
    for name, text in (("use", USE), ("misuse", MISUSE)):
        (tmp_path / f"{name}.ts").write_text(text)
    options = ["--noEmit", "--strict", "--target", "es2022", "--moduleResolution", "bundler", "--module", "es2022"]
    assert run(tools / "tsc", *options, "use.ts", cwd=tmp_path).stdout == ""
    said = run(tools / "tsc", *options, "misuse.ts", cwd=tmp_path).stdout
    assert [f"({line}," in said for line in range(4, 9)] == [True] * 5, said


@pytest.mark.parametrize("name", ["README.md", "ulak.d.ts", "ulak.js", "push.d.ts", "push.js", "push-worker.js"])
def test_the_package_holds(name: str) -> None:
    package = json.loads((CLIENT / "package.json").read_text())
    assert name in package["files"]
    assert (CLIENT / name).exists()
