"""What commands does ``ulak`` have, and where is each one's code?

A command's module is imported when the command is called and not before: ``ulak --help`` answers in
a fraction of the time that importing the server takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import click

from ulak import __version__


class Entry(NamedTuple):
    """Where a command's code is (``module:attribute``), and its line in ``ulak --help``."""

    target: str
    summary: str


COMMANDS: Mapping[str, Entry] = {
    "dev": Entry("ulak.cli.dev:command", "Run everything on this machine, all vendors replaced by the sandbox."),
    "serve": Entry("ulak.cli.serve:command", "Run a node: API, gateway and worker."),
    "demo": Entry("ulak.cli.demo:command", "Send real events through a throw-away stack and account for each."),
    "send": Entry("ulak.cli.send:command", "Send one notification."),
    "tail": Entry("ulak.cli.tail:command", "Follow deliveries as they happen."),
    "explain": Entry("ulak.cli.explain:command", "Tell why a delivery went as it did."),
    "apply": Entry("ulak.cli.apply:command", "Check a project folder and put its types and templates to use."),
    "migrate": Entry("ulak.cli.migrate:command", "Bring the database's schema up to date."),
    "doctor": Entry("ulak.cli.doctor:command", "Look for what is wrong with this installation."),
    "bench": Entry("ulak.cli.bench:command", "Measure accept, queue, pipeline, gateway or a storm."),
    "openapi": Entry("ulak.cli.openapi:command", "Print the HTTP API's description."),
    "keys": Entry("ulak.cli.keys:command", "Make, list and revoke API keys."),
    "callbacks": Entry("ulak.cli.callbacks:command", "List the addresses for vendors' callbacks."),
    "sandbox": Entry("ulak.cli.sandbox:command", "Run the fake vendors on loopback."),
}
"""Every command, in the order of ``ulak --help``."""


class LazyGroup(click.Group):
    """A group that knows its commands by a table and imports only the one that is called."""

    def __init__(self, *, table: Mapping[str, Entry], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]  # passed through untouched
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the table's order."""
        del ctx
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when the table has no such name."""
        del ctx
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        if find_spec(module) is None:
            message = f"`ulak {cmd_name}` is not in this version ({__version__}): it has no {module}."
            raise click.ClickException(message)
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            message = f"{entry.target} is no command"
            raise TypeError(message)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone, importing none."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._table.items()])


@click.command(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ulak")
def main() -> None:
    """Send one event; Ulak decides who should hear of it, on which channel and when."""
