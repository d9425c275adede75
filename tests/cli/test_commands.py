"""Does the command line stay quick, and honest about what it lacks?"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ulak.cli import COMMANDS, Entry, LazyGroup, main
from ulak.database import Database


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


@pytest.mark.parametrize("command", [["dev"], ["serve"], ["sandbox", "--http-port", "0"]])
def test_a_port_that_is_none_is_refused(command: list[str]) -> None:
    option = "--smtp-port" if "sandbox" in command else "--port"
    told = CliRunner().invoke(main, [*command, option, "70000"])
    assert told.exit_code == 2
    assert "0<=x<=65535" in told.output


def test_a_port_of_the_environment_that_is_none_is_told(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["serve"], env={"ULAK_PORT": "70000", "ULAK_DATA_DIR": str(tmp_path)})
    assert told.exit_code == 1
    assert "can't listen on 127.0.0.1:70000: a port is a number from 0 to 65535" in told.output


def test_a_taken_port_is_told_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sandbox = [sys.executable, "-m", "ulak", "sandbox", "--smtp-port", "0", "--vendor-port", "0"]
        sandbox += ["--push-port", "0"]
        sandbox += ["--http-port", str(port)]
        told = subprocess.run(sandbox, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    assert told.stderr == f"Error: 127.0.0.1:{port}: Address already in use\n"


def _folder(at: Path, account: str) -> str:
    (at / "ulak.toml").write_text(f'[accounts.mail]\nchannel = "email"\n{account}\n')
    return str(at)


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ('provider = "smpt"\nhost = "x"', "accounts.mail.provider: no provider is called 'smpt' (there are: apns,"),
        ('provider = "smtp"\nhst = "x"', "accounts.mail.hst: unknown setting"),
        ('provider = "smtp"\nhost = "x"\nport = "y"', "accounts.mail.port: must be a number"),
        ('provider = "smtp"\nhost = "x"\nusername = "u"', "accounts.mail.username: goes together with"),
    ],
)
@pytest.mark.parametrize("command", [["apply", "--check"], ["apply"], ["dev", "--project"], ["serve", "--project"]])
def test_an_account_that_nobody_could_use_is_told_before_it_is_in_force(
    command: list[str], account: str, words: str, tmp_path: Path
) -> None:
    told = CliRunner().invoke(main, [*command, _folder(tmp_path, account)], env={"ULAK_DATA_DIR": str(tmp_path / "d")})
    assert told.exit_code == 1
    assert words in told.output
    assert not (tmp_path / "d").exists()


def test_a_secret_is_not_needed_to_check_a_folder(tmp_path: Path) -> None:
    account = 'provider = "smtp"\nhost = "x"\nusername = "u"\npassword_env = "NOWHERE_SET"'
    told = CliRunner().invoke(main, ["apply", "--check", _folder(tmp_path, account)])
    assert told.exit_code == 0, told.output


def test_a_folder_without_a_project_is_named(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["apply", "--check", str(tmp_path)])
    assert told.exit_code == 1
    assert f"{tmp_path}/ulak.toml: does not exist" in told.output


def test_a_database_that_is_away_is_told_with_what_to_check() -> None:
    away = {"ULAK_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    told = CliRunner().invoke(main, ["keys", "list"], env=away)
    assert told.exit_code == 1
    assert "Check that it runs, and ULAK_DATABASE_URL." in told.output


def test_dev_does_not_join_another_ulak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Database("postgresql://ulak@/ulak?host=/nowhere")
    monkeypatch.setattr("ulak.cli.dev.database.find", lambda *_, **__: running)
    env = {"ULAK_DATA_DIR": str(tmp_path), "ULAK_DATABASE_URL": None}
    told = CliRunner().invoke(main, ["dev", "--port", "0", "--mail-port", "0"], env=env)
    assert told.exit_code == 1
    assert f"another Ulak runs on the data in {tmp_path} already: end it, or name another folder" in told.output


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
