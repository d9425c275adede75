"""Does Ulak keep its promises on real events, in one command, judged from outside?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ulak.cli.client import Refused, Unreachable
from ulak.cli.demonstration import project, report
from ulak.cli.demonstration.drive import Unanswered
from ulak.cli.demonstration.program import BadEvents, Program, plan, read_events
from ulak.cli.demonstration.run import Order, perform
from ulak.cli.demonstration.sockets import Turned
from ulak.cli.demonstration.stack import StackError
from ulak.cli.demonstration.story import story
from ulak.io.embedded.errors import EmbeddedError


@click.command("demo")
@click.option(
    "--events",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Events to send, one {"event": …, "payload": {…}} a line. Without it: a story of six people.',
)
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1, 10_000), help="Send them so many times.")
@click.option(
    "--kill",
    "kills",
    default=0,
    show_default=True,
    type=click.IntRange(0, 1_000),
    help="Kill the node so many times (SIGKILL), at chosen lines of every stage.",
)
@click.option("--rate", default=100.0, show_default=True, help="Requests a second; 0: as fast as they are answered.")
@click.option("--seed", default=0, show_default=True, help="The same seed plans the same run.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Run in this new folder and leave it there with its logs."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line instead of the table.")
def command(  # noqa: PLR0913  # one parameter an option, as click wants it
    *, events: Path | None, repeat: int, kills: int, rate: float, seed: int, keep: Path | None, as_json: bool
) -> None:
    """Send real events through a throw-away Ulak and account for every one.

    Starts a PostgreSQL, a node and an SMTP peer of its own, sends every event through the HTTP API,
    listens on WebSockets, and waits until all is settled. What arrived is judged from outside: by the
    API, the sockets and the peer's log. Exits 0 only if each accepted notification is accounted for.
    """
    errors = Console(stderr=True)
    try:
        order = replace(_order(events, repeat, kills, seed, keep), rate=rate)
        run = _watched(order, errors)
    except (BadEvents, FileNotFoundError, FileExistsError) as error:
        raise click.UsageError(str(error)) from None
    except (StackError, EmbeddedError, Unanswered, Refused, Unreachable, Turned) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(report.as_json(run))
    else:
        report.show(run, Console())
    report.faults(run.verdict, errors)
    raise SystemExit(0 if run.verdict.passed else 1)


def _order(events: Path | None, repeat: int, kills: int, seed: int, keep: Path | None) -> Order:
    if keep is not None and keep.exists() and any(keep.iterdir()):
        message = f"{keep} is not empty"
        raise FileExistsError(message)
    example = project.example()
    kinds = project.kinds(example)
    told = read_events(events) if events else story()
    program: Program = plan(told, kinds, repeat=repeat, kills=kills, seed=seed)
    return Order(program, example, kinds, seed=seed, keep=keep.resolve() if keep else None)


def _watched(order: Order, console: Console) -> report.Run:
    """Carry it through with a progress bar, where there is a terminal to show one on."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("starting", total=None)

        def progress(step: str, done: int, total: int) -> None:
            if done < 0:
                bar.update(task, description=f"{step}: {-done} open", completed=0, total=None)
            else:
                bar.update(task, description=step, completed=done, total=total or None)

        return perform(order, progress)
