"""What holds for root holds for a plain user: all tests of this folder once more as `nobody`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.pg, pytest.mark.slow, pytest.mark.timeout(300)]


def become(program: str) -> list[str]:
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program]


def environment(shim: Path) -> dict[str, str]:
    """Our libraries for another interpreter; before 3.11.3 they want a backport that ours does not have."""
    (shim / "async_timeout.py").write_text("from asyncio import Timeout, timeout\n")
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), sysconfig.get_paths()["purelib"], str(shim)])
    (shim / "hypothesis").mkdir()
    (shim / "hypothesis").chmod(0o777)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(shim / "hypothesis"),
        "HOME": "/nonexistent",
    }


def interpreter(env: dict[str, str]) -> str | None:
    """A Python of our version that `nobody` may run, with our libraries."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    check = "import subprocess, sys, asyncpg, pytest, redis; subprocess.run([sys.executable, '-c', ''], check=True)"
    for program in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        if program is None:
            continue
        command = [*become(program), "-c", check]
        if subprocess.run(command, env=env, cwd="/", capture_output=True, check=False).returncode == 0:
            return program
    return None


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root with setpriv can become nobody")
def test_all_of_it_as_a_plain_user(spot: Path) -> None:
    env = environment(spot)
    python = interpreter(env)
    if python is None:
        pytest.skip("nobody may not run this Python or read its libraries")
    folder = Path(__file__).parent
    limits = ["--timeout=60", "-o", "faulthandler_timeout=50"]
    with (spot / "output").open("w+") as output:
        ran = subprocess.run(
            [*become(python), "-m", "pytest", "-v", "-p", "no:cacheprovider", *limits, f"--ignore={__file__}", folder],
            env=env,
            cwd=ROOT,
            stdout=output,  # a file, not a pipe: a process that outlived its test could hold that open
            stderr=output,
            timeout=280,
            check=False,
        )
        output.seek(0)
        said = output.read()
    assert ran.returncode == 0, said[-5000:]
    assert " passed" in said
