"""How does a node run: one process, or several on one port, with or without a database of its own?

With ``--processes N`` this process only supervises: it runs PostgreSQL and Valkey where they are not
given, opens the port, and starts N nodes that share it. A node that dies is started again.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace

import click

from ulak import database
from ulak.cli import children
from ulak.cli.common import PORT, plainly, read_project, settings
from ulak.doors import run
from ulak.edge.guard import impatient
from ulak.io.embedded import valkey
from ulak.io.embedded.errors import EmbeddedError
from ulak.logs import set_up
from ulak.settings import Settings


@click.command(help="Run a node: API, gateway and worker (all three unless ULAK_ROLES says otherwise).")
@click.option("--host", default=None, help="Address to listen on.")
@click.option("--port", default=None, type=PORT, help="Port to listen on; 0 for any free one.")
@click.option("--project", default=None, type=click.Path(file_okay=False), help="Project folder to apply at start.")
@click.option("--processes", default=None, type=click.IntRange(1, 64), help="Processes that share the port.")
@click.option("--ready-json", is_flag=True, help="Print one line of JSON on standard output when ready.")
@click.option("--fd", default=None, type=int, hidden=True, help="Listening socket handed over by the supervisor.")
@plainly
def command(
    host: str | None, port: int | None, project: str | None, processes: int | None, *, ready_json: bool, fd: int | None
) -> None:
    """Run a node."""
    wanted = settings(project, host=host, port=port, processes=processes)
    set_up(wanted.log_level, access=wanted.access_log == "on")
    if wanted.project:
        read_project(wanted.project)  # what is wrong with it is told before anything starts
    listener = socket.socket(fileno=fd) if fd is not None else listen(wanted)
    base = database.find(wanted, progress=lambda text: click.echo(text, err=True))
    try:
        if wanted.processes > 1:
            _supervise(wanted, base, listener, ready_json=ready_json)
        else:
            run(replace(wanted, database_url=base.url), listener, base.owned, _ready(listener, ready_json=ready_json))
    finally:
        base.stop()


def listen(wanted: Settings) -> socket.socket:
    """Open the port before anything else starts, so that a port in use is told at once."""
    listener = socket.socket(socket.AF_INET6 if ":" in wanted.host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((wanted.host, wanted.port))
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else "a port is a number from 0 to 65535"
        message = f"can't listen on {wanted.host}:{wanted.port}: {why}; choose another with --port or ULAK_PORT"
        raise click.ClickException(message) from None
    impatient(listener)
    listener.listen(4096)
    listener.setblocking(False)
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _ready(listener: socket.socket, *, ready_json: bool) -> Callable[[], None]:
    """What tells the world that the node takes requests."""
    url = address(listener)

    def tell() -> None:
        if ready_json:
            click.echo(json.dumps({"ready": True, "url": url}))
        else:
            click.echo(f"ulak listens on {url}", err=True)

    return tell


def _supervise(wanted: Settings, base: database.Database, listener: socket.socket, *, ready_json: bool) -> None:
    """Keep N nodes running until told to stop."""
    bus = None
    environment = {**os.environ, "ULAK_DATABASE_URL": base.url, "ULAK_PROCESSES": "1"}
    if not wanted.valkey_url:
        bus = valkey.start(wanted.data_path / "valkey")
        environment["ULAK_VALKEY_URL"] = bus.url
    nodes: dict[int, subprocess.Popen[bytes]] = {}
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    tell = _ready(listener, ready_json=ready_json)
    try:
        for number in range(wanted.processes):
            nodes[number] = _node(wanted, environment, listener, number)
        if _wait_ready(nodes, lambda: stopping):
            tell()
        while not stopping:
            time.sleep(0.2)
            _look_after(base)
            _look_after_bus(bus)
            for number, node in nodes.items():
                if node.poll() is not None and not stopping:
                    click.echo(f"node {number} ended with {node.returncode}; starting it again", err=True)
                    nodes[number] = _node(wanted, environment, listener, number)
    finally:
        _end(nodes, wanted.drain_seconds)
        if bus is not None:
            bus.stop()


def _look_after(base: database.Database) -> None:
    """Bring a PostgreSQL of ours that died back; until it starts, requests are answered with 503."""
    if base.owned is None:
        return
    try:
        base.owned.step()
    except EmbeddedError as error:
        click.echo(f"PostgreSQL does not start: {error}", err=True)


def _look_after_bus(bus: valkey.RunningValkey | None) -> None:
    """Bring a Valkey of ours that died back; until then nodes compare revisions instead of hearing hints."""
    if bus is None:
        return
    try:
        bus.step()
    except (EmbeddedError, OSError) as error:
        click.echo(f"Valkey does not start: {error}", err=True)


def _node(
    wanted: Settings, environment: dict[str, str], listener: socket.socket, number: int
) -> subprocess.Popen[bytes]:
    name = f"{wanted.node or socket.gethostname()}-{number}"
    arguments = ["serve", "--fd", str(listener.fileno()), "--ready-json"]
    if wanted.project:
        arguments += ["--project", wanted.project]
    return children.start(arguments, {**environment, "ULAK_NODE": name}, [listener.fileno()])


def _wait_ready(nodes: dict[int, subprocess.Popen[bytes]], stopping: Callable[[], bool]) -> bool:
    """Whether all nodes are ready; False when we are to stop before that (a node may wait long for the database)."""
    for number, node in nodes.items():
        if node.stdout is None:
            raise AssertionError("children.start makes it a pipe")
        while not select.select([node.stdout], [], [], 0.2)[0]:
            if stopping():
                return False
        if not node.stdout.readline():
            message = f"node {number} did not start; its message is above"
            raise click.ClickException(message)
    return True


def _end(nodes: dict[int, subprocess.Popen[bytes]], patience: float) -> None:
    for node in nodes.values():
        if node.poll() is None:
            node.send_signal(signal.SIGTERM)
    for node in nodes.values():
        children.end(node, patience + 10)
