"""Can the example project be used as it stands, and is the run's copy of it the same but for its account?"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import minijinja
import pytest

from ulak.cli.demonstration import project
from ulak.cli.demonstration.story import story
from ulak.core import project as catalogue
from ulak.core.model import Channel
from ulak.core.render import Renderer

EXAMPLE = project.example()
EVENTS = Path(__file__).parents[4] / "shared" / "data" / "github-events.jsonl"


def templates() -> list[Path]:
    return sorted((EXAMPLE / "templates").rglob("*.*"))


def test_it_loads_without_a_complaint() -> None:
    catalog = catalogue.load({str(p.relative_to(EXAMPLE)): p.read_text() for p in EXAMPLE.rglob("*") if p.is_file()})
    assert set(catalog.types) == set(project.kinds(EXAMPLE))


def test_the_judge_reads_the_routes_as_the_loader_does() -> None:
    catalog = catalogue.load({str(p.relative_to(EXAMPLE)): p.read_text() for p in EXAMPLE.rglob("*") if p.is_file()})
    for name, kind in project.kinds(EXAMPLE).items():
        known = catalog.types[name]
        assert (kind.category, kind.klass) == (known.category, known.klass.value)
        assert [(leg.channel, leg.after) for leg in kind.route] == [
            (step.channel.value, step.after) for step in known.route
        ]


def test_every_template_has_both_languages_and_every_email_its_mark() -> None:
    for path in templates():
        channel, language, _ = path.name.split(".")
        other = {"en": "tr", "tr": "en"}[language]
        assert path.with_name(path.name.replace(f".{language}.", f".{other}.")).exists(), path
        if channel == "email":
            spoken = [lang for lang, mark in project.MARKS.items() if mark in path.read_text()]
            assert spoken == [language], path


def _events() -> list[dict[str, Any]]:
    told = [{"event": event.name, "payload": event.payload} for event in story()]
    real = [json.loads(line) for line in EVENTS.read_text().splitlines()] if EVENTS.exists() else []
    names = sorted(project.kinds(EXAMPLE))
    keys = sorted({key for event in [*told, *real] for key in event["payload"]})
    empty = [{"event": name, "payload": payload} for name in names for payload in ({}, dict.fromkeys(keys))]
    return told + real + empty


@pytest.mark.parametrize("undefined", ["lenient", "strict"])
def test_every_template_takes_every_payload_missing_parts_and_nulls_included(undefined: Any) -> None:
    stated = tomllib.loads((EXAMPLE / "ulak.toml").read_text())["types"]
    engine = minijinja.Environment(undefined_behavior=undefined)
    parts: dict[Path, list[str]] = {}
    for path in templates():
        _, head, body = path.read_text().split("+++\n", 2)
        parts[path] = []
        for part, text in (tomllib.loads(head) | {"body": body}).items():
            parts[path].append(f"{path.parent.name}/{path.name}/{part}")
            engine.add_template(parts[path][-1], text)
    for event in _events():
        table = stated[event["event"]]
        folder = EXAMPLE / "templates" / table.get("template", event["event"])
        names = [
            name for step in table["route"] for path in folder.glob(f"{step['channel']}.*") for name in parts[path]
        ]
        assert names
        for name in names:
            shown = engine.render_template(
                name,
                data=event["payload"],
                user={"id": "ada", "locale": "en"},
                notification={"id": "ntf_1", "type": event["event"]},
                actor=None,
            )
            assert shown.strip() or name.endswith("/url"), name


@pytest.mark.parametrize(("asked", "language"), [("en", "en"), ("tr", "tr"), ("tr-TR", "tr"), (None, "en")])
def test_every_payload_is_rendered_in_the_language_that_was_asked_for(asked: str | None, language: str) -> None:
    catalog = catalogue.load({str(p.relative_to(EXAMPLE)): p.read_text() for p in EXAMPLE.rglob("*") if p.is_file()})
    renderer = Renderer(catalog)
    for event in _events():
        known = catalog.types[event["event"]]
        context = {
            "data": event["payload"],
            "user": {"id": "ada", "locale": asked},
            "notification": {"id": "ntf_1", "type": known.name},
            "actor": None,
        }
        if any(step.channel is Channel.EMAIL for step in known.route):
            content = renderer.email(known, asked, context)
            assert content.language == language
            assert project.MARKS[language] in " ".join(content.text.split())
            assert content.subject.strip()
        assert renderer.in_app(known, asked, context).title.strip()


def test_a_copy_differs_in_its_account_alone(tmp_path: Path) -> None:
    project.copy(EXAMPLE, tmp_path / "copy")
    before = tomllib.loads((EXAMPLE / "ulak.toml").read_text())
    after = tomllib.loads((tmp_path / "copy" / "ulak.toml").read_text())
    stated, accounts = before.pop("accounts"), after.pop("accounts")
    assert before == after
    short = {"timeout": "5s", "reconcile_after": "2s"}
    assert accounts == {name: table | short for name, table in stated.items()}
    for path in templates():
        assert (tmp_path / "copy" / path.relative_to(EXAMPLE)).read_bytes() == path.read_bytes()


def test_a_project_without_the_account_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "ulak.toml").write_text("[email]\n")
    with pytest.raises(ValueError, match=r"accounts\.NAME"):
        project.copy(source, tmp_path / "copy")
