"""Do all roads from a fresh copy of the tree lead to a working ``ulak``?

They need the network (or a mirror), as the first run of ``ulak.sh`` does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
DEAD_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")


def copy_tree(to: Path) -> Path:
    """Copy what a clone would hold: no environment, no history, no caches."""
    ignore = shutil.ignore_patterns(
        ".git", ".venv*", ".bootstrap", ".ulak", ".*_cache", ".hypothesis", "__pycache__", "dist"
    )
    return Path(shutil.copytree(ROOT, to / "ulak", ignore=ignore))


def environment(**changes: str) -> dict[str, str]:
    """The caller's environment without what would tie it to this very tree."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("ULAK_", "PYTHON", "COV_", "VIRTUAL_ENV", "PYTEST"))
    }
    return kept | changes


def run(tree: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``ulak.sh`` from another folder than its own."""
    command = [str(tree / "ulak.sh"), *(arguments or ("--version",))]
    return subprocess.run(
        command, cwd=tree.parent, env=environment(**env), capture_output=True, text=True, timeout=500, check=False
    )


def assert_works(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ulak, version ")


def assert_says(result: subprocess.CompletedProcess[str], words: str) -> None:
    assert result.returncode == 1, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def false_uv(folder: Path, body: str) -> str:
    """Put a script named uv in front of the PATH; returns that PATH."""
    folder.mkdir()
    script = folder / "uv"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that was set up from nothing, uv included where the machine has none."""
    tree = copy_tree(tmp_path_factory.mktemp("first"))
    assert_works(run(tree))
    return tree


@pytest.fixture
def tree(tmp_path: Path, first: Path) -> Path:
    """A fresh copy that need not fetch uv again."""
    tree = copy_tree(tmp_path)
    if (first / ".bootstrap" / "bin").exists():
        shutil.copytree(first / ".bootstrap", tree / ".bootstrap")
    return tree


def test_the_second_run_touches_neither_network_nor_installer(first: Path, tmp_path: Path) -> None:
    called = tmp_path / "called"
    path = false_uv(tmp_path / "bin", f"touch {called}; exit 1")
    result = run(first, PATH=path, **DEAD_PROXY)
    assert_works(result)
    assert result.stderr == ""
    assert not called.exists()


def test_changed_requirements_are_installed(first: Path) -> None:
    with (first / "requirements" / "run.txt").open("a") as file:
        file.write("# changed\n")
    result = run(first)
    assert_works(result)
    assert "setting up" in result.stderr
    assert run(first).stderr == ""


def test_development_tools_stay_once_they_are_there(first: Path) -> None:
    stamp = first / ".venv" / "ulak-stamp"
    stamp.write_text(stamp.read_text().replace("run\n", "dev\n", 1))
    with (first / "requirements" / "dev.txt").open("a") as file:
        file.write("# changed\n")
    assert_works(run(first))
    assert stamp.read_text().startswith("dev\n")
    assert (first / ".venv" / "bin" / "pytest").exists()


def test_a_tree_that_was_moved_runs_its_own_code(tree: Path, tmp_path: Path) -> None:
    assert_works(run(tree))
    moved = tree.rename(tmp_path / "moved")
    assert_works(run(moved))
    python = moved / ".venv" / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import ulak; print(ulak.__file__)"], capture_output=True, text=True, check=True
    )
    assert where.stdout.startswith(str(moved / "src"))
    subprocess.run([python.with_name("uvicorn"), "--version"], check=True, capture_output=True, timeout=60)


def test_two_first_runs_at_once_do_not_disturb_each_other(tree: Path) -> None:
    started = [
        subprocess.Popen(
            [tree / "ulak.sh", "--version"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    told = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], told
    assert sum("setting up" in stderr for _, stderr in told) == 1


def test_plain_pip_does_where_uv_fails(tree: Path, tmp_path: Path) -> None:
    path = false_uv(tmp_path / "bin", '[ "$1" = --version ]')
    result = run(tree, PATH=path)
    assert_works(result)
    assert "plain pip" in result.stderr


def test_an_environment_made_by_hand_is_kept(tree: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tree / ".venv"], check=True, timeout=120)
    packages = next((tree / ".venv" / "lib").glob("python3*/site-packages"))
    own = packages / "own-1.0.dist-info"
    own.mkdir()
    (own / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (own / "RECORD").write_text("own-1.0.dist-info/METADATA,,\nown-1.0.dist-info/RECORD,,\n")
    assert_works(run(tree))
    assert own.exists()


def test_another_environment_can_be_named(tree: Path, tmp_path: Path) -> None:
    assert_works(run(tree, ULAK_VENV=str(tmp_path / "elsewhere")))
    assert (tmp_path / "elsewhere" / "bin" / "python").exists()
    assert not (tree / ".venv").exists()


def test_what_is_no_environment_is_never_removed(tree: Path, tmp_path: Path) -> None:
    precious = tmp_path / "home" / "thesis"
    precious.parent.mkdir()
    precious.touch()
    assert_says(run(tree, ULAK_VENV=str(precious.parent)), "in the way")
    assert precious.exists()


def test_no_python_is_told(tree: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname", "cat", "mkdir", "sed", "cksum"):
        (tools / name).symlink_to(shutil.which(name) or "")
    assert_says(run(tree, PATH=str(tools)), "Python 3.11 or newer")
    assert_says(run(tree, ULAK_PYTHON="/bin/false"), "/bin/false")


OFFLINE = {"PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "UV_OFFLINE": "1"}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path)
    (tree / ".bootstrap" / "lock").mkdir(parents=True)  # not even root can append to a folder
    assert_says(run(tree), f"cannot write to {tree}/.bootstrap; name another place in ULAK_VENV")


def test_no_network_is_told(tmp_path: Path) -> None:
    result = run(copy_tree(tmp_path), UV_CACHE_DIR=str(tmp_path / "cache"), **OFFLINE, **DEAD_PROXY)
    assert_says(result, "could not install the requirements")


def test_no_network_leaves_what_is_there(tree: Path) -> None:
    assert_works(run(tree))
    with (tree / "requirements" / "run.txt").open("a") as file:
        file.write(f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    assert_says(run(tree, **OFFLINE, **DEAD_PROXY), "could not install the requirements")
    subprocess.run([tree / ".venv" / "bin" / "python", "-m", "ulak", "--version"], check=True, timeout=60)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every account can reach (pytest's own is closed to others)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("home", [None, "/root", "/nonexistent"])
def test_a_plain_user_without_a_home(public_folder: Path, first: Path, home: str | None) -> None:
    tree = copy_tree(public_folder)
    if (first / ".bootstrap" / "bin").exists():
        shutil.copytree(first / ".bootstrap", tree / ".bootstrap")
    drop: dict[str, int] = {}
    if os.geteuid() == 0:
        drop = {"user": NOBODY, "group": NOBODY}
        for path in (tree, *tree.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    env = environment()
    env.pop("HOME", None)
    env |= {} if home is None else {"HOME": home}
    result = subprocess.run(  # type: ignore[call-overload]  # user and group are there on every POSIX system
        [tree / "ulak.sh", "--version"],
        cwd="/",
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        extra_groups=[] if drop else None,
        **drop,
    )
    assert_works(result)
    assert "plain pip" not in result.stderr


def test_pip_install_gives_the_command(tmp_path: Path) -> None:
    tree, env = copy_tree(tmp_path), environment()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "plain"], check=True, timeout=200)
    pip: list[str | Path] = [
        tmp_path / "plain" / "bin" / "python",
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, tree], env=env, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    assert packed(wheel) == in_source(tree)
    subprocess.run([*pip, "install", wheel], env=env, check=True, timeout=500)
    command = tmp_path / "plain" / "bin" / "ulak"
    told = subprocess.run([command, "--help"], env=env, cwd="/", capture_output=True, text=True, check=True, timeout=60)
    assert "serve" in told.stdout
    ran = subprocess.run(
        [command, "demo", "--json"], env=env, cwd="/", capture_output=True, text=True, check=False, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    assert '"lost": 0' in ran.stdout


def packed(wheel: Path) -> set[str]:
    """The files of a wheel, its own metadata aside."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def in_source(tree: Path) -> set[str]:
    """All files of the package, SQL and static files with the code, named as in a wheel."""
    files = {str(path.relative_to(tree / "src")) for path in (tree / "src").rglob("*") if path.is_file()}
    example = (path for path in (tree / "examples" / "github").rglob("*") if path.is_file())
    files |= {f"ulak/{path.relative_to(tree)}" for path in example}
    assert {"ulak/py.typed", "ulak/io/postgres/migrations/0001_foundation.pre.sql"} <= files
    return files
