"""Do the committed descriptions say what the door does?"""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from ulak.cli.openapi import command
from ulak.edge.api import openapi, reference
from ulak.edge.api.table import CALLS, ROUTES

ROOT = Path(__file__).parents[3]


def test_the_committed_description_is_the_one_of_the_table() -> None:
    """Mend with: ``ulak openapi > spec/openapi.json``."""
    assert (ROOT / "spec/openapi.json").read_bytes() == openapi.text(CALLS)
    assert CliRunner().invoke(command).stdout_bytes == openapi.text(CALLS)


def test_the_committed_reference_is_the_one_of_the_table() -> None:
    """Mend with: ``ulak openapi --markdown > docs/reference/http-api.md``."""
    text = reference.markdown(openapi.describe(CALLS))
    assert (ROOT / "docs/reference/http-api.md").read_text("utf-8") == text
    assert CliRunner().invoke(command, ["--markdown"]).stdout == text


def test_every_route_is_described_once() -> None:
    document = openapi.describe(CALLS)
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids)) == len(CALLS) == len(ROUTES) - 2


def test_no_reference_leads_nowhere() -> None:
    document = openapi.describe(CALLS)
    text = json.dumps(document)
    for kind in ("schemas", "responses"):
        known = document["components"][kind]
        start = f"#/components/{kind}/"
        named = {part.split('"')[0] for part in text.split(start)[1:]}
        assert named <= set(known)
