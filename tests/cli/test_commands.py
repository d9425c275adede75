"""Does the command line stay quick, and honest about what it lacks?"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import click
import pytest
from click.testing import CliRunner

from ulak.cli import COMMANDS, Entry, LazyGroup, main


def test_help_lists_every_command() -> None:
    told = CliRunner().invoke(main, ["--help"])
    assert told.exit_code == 0
    assert [line.split()[0] for line in told.output.split("Commands:\n")[1].splitlines() if line[2] != " "] == list(
        COMMANDS
    )


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if find_spec(entry.target.split(":")[0])])
def test_every_command_that_is_there_loads(name: str) -> None:
    told = CliRunner().invoke(main, [name, "--help"])
    assert told.exit_code == 0, told.output
    assert "Usage:" in told.output


def test_a_missing_module_is_told_when_called_and_not_before() -> None:
    group = LazyGroup(table={"later": Entry("ulak.cli.not_written_yet:command", "Comes later.")})
    assert CliRunner().invoke(group, ["--help"]).exit_code == 0
    told = CliRunner().invoke(group, ["later"])
    assert told.exit_code == 1
    assert "`ulak later` is not in this version" in told.output


def test_a_wrong_line_in_the_table_is_our_fault_and_loud() -> None:
    group = LazyGroup(table={"version": Entry("ulak:__version__", "Is no command.")})
    with pytest.raises(TypeError, match="is no command"):
        group.get_command(click.Context(group), "version")


def test_an_unknown_command_is_refused() -> None:
    told = CliRunner().invoke(main, ["sreve"])
    assert told.exit_code == 2
    assert "No such command" in told.output


def test_help_imports_nothing_heavy() -> None:
    heavy = ["aiohttp", "asyncpg", "uvicorn", "rich", "redis", "asyncio", "cryptography", "minijinja"]
    code = f"""
import sys
from ulak.cli import main
main(["--help"], standalone_mode=False)
print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60, check=True)
    assert told.stderr.strip() == ""
