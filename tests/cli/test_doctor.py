"""Does `ulak doctor` find what is wrong, say what helps, and end with the right code?"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from ulak.cli.doctor import _links, command
from ulak.core.health import Level
from ulak.core.project import load
from ulak.io.postgres.catalogs import apply
from ulak.io.postgres.pool import Pool

MAIL = """
[accounts.mail]
channel = "email"
provider = "smtp"
host = "127.0.0.1"
port = 25
tls = "none"
"""
PUSH = """
[accounts.browsers]
channel = "push"
provider = "webpush"
subject = "mailto:push@example.com"
public_key = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
private_key_env = "WEBPUSH_KEY"
"""
SECRET = 'username = "u"\npassword_env = "ULAK_TEST_DOCTOR_PASSWORD"\n'


class Told(NamedTuple):
    code: int
    findings: dict[str, list[dict[str, Any]]]
    text: str

    def levels(self, check: str) -> list[str]:
        return [f["level"] for f in self.findings[check]]

    @property
    def troubles(self) -> Counter[str]:
        return Counter(c for c, found in self.findings.items() for f in found if f["level"] == "trouble")


def _doctor(*arguments: str, **environment: str) -> Told:
    clean = {name: None for name in os.environ if name.startswith("ULAK_")}
    result = CliRunner().invoke(command, ["--json", *arguments], env={**clean, **environment})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    answer = json.loads(result.stdout)
    assert answer["ok"] == (result.exit_code == 0)
    findings: dict[str, list[dict[str, Any]]] = {}
    for finding in answer["findings"]:
        assert finding["said"]
        findings.setdefault(finding["check"], []).append(finding)
    return Told(result.exit_code, findings, result.stdout)


def _change(url: str, *statements: str, project: str = "") -> None:
    async def run() -> None:
        pool = await Pool.open(url, size=1)
        for statement in statements:
            await pool.execute(statement)
        if project:
            await apply(pool, 0, load({"ulak.toml": project}))
        await pool.close()

    asyncio.run(run())


@pytest.mark.pg
def test_a_fresh_database_is_well(database_url: str) -> None:
    told = _doctor(ULAK_DATABASE_URL=database_url)
    assert told.code == 0, told.text
    assert told.levels("schema") == ["ok"]
    assert told.levels("types") == ["note"]
    assert told.levels("nodes") == ["note"]


@pytest.mark.pg
def test_people_read_lines(database_url: str) -> None:
    result = CliRunner().invoke(command, [], env={"ULAK_DATABASE_URL": database_url})
    assert result.exit_code == 0
    assert "durability" in result.output
    assert result.output.rstrip().endswith("Nothing is in trouble.")


@pytest.mark.pg
def test_what_waits_for_nobody_is_trouble(database_url: str) -> None:
    _change(
        database_url,
        "INSERT INTO timers (bulkhead, due_at, lane, bucket, tenant, delivery, n)"
        " VALUES ('email/gone', now() - interval '1 h', 1, 0, 0, gen_random_uuid(), 1)",
        project=MAIL,
    )
    told = _doctor(ULAK_DATABASE_URL=database_url)
    assert told.code == 1
    assert told.troubles == {"accounts": 1, "queue": 1}
    assert any("email/gone" in f["said"] for f in told.findings["accounts"])


@pytest.mark.pg
def test_a_missing_secret_is_named_and_never_shown(database_url: str) -> None:
    _change(database_url, project=MAIL + SECRET)
    told = _doctor(ULAK_DATABASE_URL=database_url)
    assert told.troubles == {"accounts": 1}
    assert "ULAK_TEST_DOCTOR_PASSWORD is not set" in told.text
    told = _doctor(ULAK_DATABASE_URL=database_url, ULAK_TEST_DOCTOR_PASSWORD="hunter2")
    assert told.code == 0, told.text
    assert "hunter2" not in told.text


@pytest.mark.pg
@pytest.mark.parametrize(
    ("held", "told"),
    [
        ("", "WEBPUSH_KEY is empty"),
        ("WEBPUSH_KEY", "accounts.browsers.private_key_env: must be a private key"),
        ("AAAA", "(it was read from WEBPUSH_KEY)"),
    ],
)
def test_a_secret_that_is_no_key_is_trouble_whatever_it_looks_like(database_url: str, held: str, told: str) -> None:
    _change(database_url, project=PUSH)
    found = _doctor(ULAK_DATABASE_URL=database_url, WEBPUSH_KEY=held)
    assert found.troubles == {"accounts": 1}
    assert told in found.text


@pytest.mark.pg
def test_an_account_that_its_provider_refuses_is_trouble(database_url: str) -> None:
    _change(database_url, project=MAIL.replace('"smtp"', '"nobody"'))
    told = _doctor(ULAK_DATABASE_URL=database_url)
    assert told.troubles == {"accounts": 1}
    assert "no provider is called nobody" in told.text


@pytest.mark.pg
def test_a_changed_migration_is_trouble(database_url: str) -> None:
    _change(database_url, "UPDATE migrations SET checksum = 'x' WHERE number = 1")
    assert _doctor(ULAK_DATABASE_URL=database_url).troubles == {"schema": 1}


@pytest.mark.pg
def test_a_database_without_schema_is_only_noted(database_url: str) -> None:
    _change(database_url, "DROP TABLE migrations")
    told = _doctor(ULAK_DATABASE_URL=database_url)
    assert told.code == 0
    assert told.levels("schema") == ["note"]
    assert "queue" not in told.findings


@pytest.mark.pg
def test_two_nodes_of_one_name_are_trouble(database_url: str) -> None:
    _change(database_url, "INSERT INTO boots (node, roles) VALUES ('a', '{worker}'), ('a', '{worker}')")
    assert _doctor(ULAK_DATABASE_URL=database_url).troubles == {"nodes": 1}


def test_a_database_that_is_away_is_trouble() -> None:
    told = _doctor(ULAK_DATABASE_URL="postgresql://ulak:hunter2@127.0.0.1:1/ulak")
    assert told.troubles == {"database": 1}
    assert "hunter2" not in told.text


def test_a_machine_without_a_database_is_left_as_it_is(tmp_path: Path) -> None:
    told = _doctor(ULAK_DATA_DIR=str(tmp_path / "data"))
    assert told.levels("database") == ["note"]
    assert list(tmp_path.iterdir()) == []


def test_an_open_data_directory_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres").chmod(0o777)
    told = _doctor(ULAK_DATA_DIR=str(tmp_path))
    assert told.troubles["data directory"] == 1
    assert "chmod 700" in told.text


def test_every_mistake_of_a_project_is_told(tmp_path: Path) -> None:
    (tmp_path / "ulak.toml").write_text('[types.a]\nclas = "critical"\n[whatever]\n')
    told = _doctor("--project", str(tmp_path), ULAK_DATA_DIR=str(tmp_path / "data"))
    assert told.troubles["project"] >= 3


def test_a_wrong_setting_is_trouble() -> None:
    told = _doctor(ULAK_POOL_SIZE="many")
    assert told.troubles == {"settings": 1}
    assert "ULAK_POOL_SIZE" in told.text


def test_a_valkey_that_is_away_is_trouble(tmp_path: Path) -> None:
    told = _doctor(ULAK_DATA_DIR=str(tmp_path / "data"), ULAK_VALKEY_URL="redis://:hunter2@127.0.0.1:1/0")
    assert told.troubles == {"valkey": 1}
    assert "hunter2" not in told.text


def test_the_database_of_dev_is_pointed_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert "`ulak dev` or `ulak serve` makes one" in _doctor().findings["database"][0]["todo"]
    (tmp_path / ".ulak" / "dev" / "postgres").mkdir(parents=True)
    assert f"ULAK_DATA_DIR={tmp_path}/.ulak/dev looks at that" in _doctor().findings["database"][0]["todo"]


@pytest.mark.parametrize(
    ("klass", "url", "found"),
    [
        ("marketing", "", [Level.TROUBLE]),
        ("marketing", "http://n.example.com", [Level.TROUBLE]),
        ("marketing", "https://n.example.com", [Level.OK]),
        ("marketing", "n.example.com", [Level.TROUBLE]),
        ("transactional", "", [Level.NOTE]),
        ("critical", "", []),
    ],
)
def test_emails_that_can_not_say_where_to_unsubscribe_are_told(klass: str, url: str, found: list[Level]) -> None:
    main = '[email]\nfrom = "o@example.com"\n[types.offer]\ncategory = "offers"\nroute = [{ channel = "email" }]\n'
    files = {"ulak.toml": f'{main}class = "{klass}"', "templates/offer/email.md": '+++\nsubject = "x"\n+++\nx'}
    assert [finding.level for finding in _links([load(files)], url)] == found
