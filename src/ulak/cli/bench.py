"""How fast is Ulak on this machine, beside a peer in the same run?

The benches are part of the source tree, not of the installed package: they need peers that nobody else does.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click

from ulak.cli.common import plainly

NAMES = ("accept", "queue", "pipeline", "gateway", "storm", "email", "push")

_HELP = """Measure one part, beside peers in the same run.

accept: durable accepts over HTTP, and group commit. queue: the queue alone, deep and under a held snapshot. pipeline:
accept to settled, and one notification to many. gateway: sockets. storm: 10,000 clients whose node is killed. email:
template to MIME, signed, and through a vendor's adapter. push: to APNs, FCM and browsers.

It takes minutes; --quick tells whether it runs at all. What was found stands in docs/performance.md.
"""


@click.command(help=_HELP)
@click.argument("name", type=click.Choice(NAMES))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 99), help="Medians of how many.")
@click.option("--quick", is_flag=True, help="A tenth of the work, to try it out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@plainly
def command(name: str, rounds: int, *, quick: bool, as_json: bool) -> None:
    """Run one bench."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / "bench" / f"{name}.py").is_file():
        raise click.ClickException(
            "the benches are not part of the installed package: clone the repository and run ./ulak.sh bench there"
        )
    common, chosen = _load(folder, "common"), _load(folder, name)
    options = common.Options(rounds=rounds, quick=quick)
    # A bench that needs no database runs by itself.
    alone = hasattr(chosen, "run")
    found = chosen.run(options) if alone else common.run(chosen.bench, options)
    click.echo(json.dumps(found) if as_json else (chosen if alone else common).table(found))


def _load(folder: Path, name: str) -> ModuleType:
    """Import a module of ``bench/``, which lies beside ``src/``."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return import_module(f"bench.{name}")
    except ModuleNotFoundError as error:
        message = f"{error}: the benches need the development requirements (requirements/dev.txt)"
        raise click.ClickException(message) from error
