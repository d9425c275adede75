"""How is the command line described on paper? Makes ``docs/reference/cli.md`` from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc

import click

from ulak.cli import main

_INTRO = """# Command line

<!-- Made by `python -m tools.reference`; edit the command in src/ulak/cli instead. -->

`./ulak.sh COMMAND` sets up what is missing and runs `ulak COMMAND`; with an installed package it is `ulak COMMAND`.
Each takes `--help`. Exit code 0 is success, 1 a failure that the message explains, 2 a wrong call. `--json` is for
programs: its form is kept, that of the text for people is not."""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_INTRO]
    with click.Context(main, info_name="ulak") as ctx:
        for name in main.list_commands(ctx):
            command = main.get_command(ctx, name)
            if command is not None:
                parts += _command(command, ctx, name, "##")
    return "\n\n".join(parts) + "\n"


def _command(command: click.Command, parent: click.Context, name: str, level: str) -> Iterator[str]:
    with click.Context(command, parent, info_name=name) as ctx:
        yield f"{level} {ctx.command_path}"
        usage = " ".join(command.collect_usage_pieces(ctx))
        yield f"```\n{ctx.command_path} {usage}\n```"
        if command.help:
            yield cleandoc(command.help.replace("\b", "").partition("\f")[0])
        rows = [record for option in command.get_params(ctx) if (record := option.get_help_record(ctx))]
        rows = [row for row in rows if row[1] and "--help" not in row[0]]
        if rows:
            yield "\n".join(["| option | what it does |", "| --- | --- |", *(_row(*row) for row in rows)])
        if isinstance(command, click.Group):
            for inner in command.list_commands(ctx):
                found = command.get_command(ctx, inner)
                if found is not None:
                    yield from _command(found, ctx, inner, level + "#")


def _row(names: str, text: str) -> str:
    said = " ".join(text.split()).replace("|", "\\|")
    return f"| `{names}` | {said} |"
