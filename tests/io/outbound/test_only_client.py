"""Is the guarded client the only thing in the project that can speak HTTP to the outside?

A walk over the syntax of every module: whoever names a client of another library fails here, unless the
module stands in the list below with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[3] / "src"

ALLOWED = {
    "ulak/io/outbound/http.py": "the guarded client itself",
    "ulak/io/outbound/http2_wire.py": "the guarded client of HTTP/2",
    "ulak/io/outbound/http2_connection.py": "the same",
    "ulak/sandbox/push": "servers, which dial nobody",
    "ulak/cli/client.py": "the command line's client of our own API, which the operator names, loopback by default",
}
"""Modules that may build a client, each with the reason. No URL that a user gave may ever reach them."""

CLIENTS = frozenset(
    {
        "aiohttp.ClientSession",
        "aiohttp.TCPConnector",
        "aiohttp.UnixConnector",
        "aiohttp.request",
        "http.client",
        "urllib.request",
        "urllib3",
        "httpx",
        "requests",
        "niquests",
        "pyreqwest",
        "pycurl",
        "websockets.connect",
        "websockets.client",
        "websockets.asyncio.client",
        "websockets.sync.client",
        "websockets.legacy.client",
        "asyncio.open_connection",
        "h2",
        "jh2",
        "aioapns",
    }
)
"""Dotted names, and all below them, that open connections for HTTP or a WebSocket."""

METHODS = frozenset({"create_connection", "open_connection", "sock_connect"})
"""Attributes of a loop or of asyncio that dial by themselves, whatever they are called on."""

DIALLERS = {
    "ulak/io/outbound/http2_dial.py": "judges every address that it dials for the client of HTTP/2",
    "ulak/io/outbound/smtp.py": "SMTP to the operator's own servers",
    "ulak/io/postgres": "PostgreSQL",
    "ulak/io/valkey": "Valkey",
    "ulak/io/embedded": "waits until our own PostgreSQL or Valkey listens",
}
"""Modules or packages that dial by themselves: other protocols than HTTP, to places the operator named, or guarded."""


def imported(tree: ast.AST) -> dict[str, str]:
    """The local names of a module that stand for imported ones, with what they stand for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, names)
        return f"{base}.{node.attr}" if base else None
    return None


def is_client(name: str) -> bool:
    return any(name == client or name.startswith(client + ".") for client in CLIENTS)


def clients_in(source: str) -> Iterator[tuple[int, str]]:
    """Every place (line, name) where a module reaches for an HTTP or WebSocket client."""
    tree = ast.parse(source)
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if is_client(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name) for name in full if is_client(name))
        elif isinstance(node, ast.Attribute):
            name = dotted(node, names)
            if name is not None and is_client(name):
                yield node.lineno, name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in CLIENTS - {"h2"}:
            yield node.lineno, f"{node.value} by name"


def diallers_in(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            yield node.lineno, node.attr


def listed(path: str, table: dict[str, str]) -> bool:
    return any(path == entry or path.startswith(entry + "/") for entry in table)


MODULES = sorted(path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_no_other_module_builds_a_client(path: str) -> None:
    source = (SRC / path).read_text()
    if not listed(path, ALLOWED):
        assert list(clients_in(source)) == [], "send it through ulak.io.outbound.http.HttpClient"
    if not listed(path, ALLOWED | DIALLERS):
        assert list(diallers_in(source)) == []


@pytest.mark.parametrize("path", sorted(ALLOWED | DIALLERS))
def test_no_exception_outlives_its_module(path: str) -> None:
    assert (SRC / path).exists()


@pytest.mark.parametrize(
    "source",
    [
        "import aiohttp\ns = aiohttp.ClientSession()",
        "import aiohttp as a\ns = a.ClientSession()",
        "from aiohttp import ClientSession as S",
        "from aiohttp import TCPConnector",
        "import httpx",
        "import requests as r",
        "from requests import get",
        "import urllib.request",
        "from urllib import request",
        "from urllib.request import urlopen",
        "import http.client",
        "from http import client",
        "import websockets\nasync def f(): await websockets.connect('ws://x')",
        "from websockets.asyncio.client import connect",
        "import asyncio\nasync def f(): await asyncio.open_connection('x', 1)",
        "import importlib\nm = importlib.import_module('httpx')",
        "def f():\n    import urllib3",
        "from h2.connection import H2Connection",
        "import h2.connection",
    ],
)
def test_the_walk_sees_every_way_of_writing_it(source: str) -> None:
    assert list(clients_in(source))


def test_the_walk_sees_raw_dials() -> None:
    assert list(diallers_in("async def f(loop): await loop.create_connection(P, 'x', 80)"))


@pytest.mark.parametrize(
    "source",
    [
        "import http",
        "from http import HTTPStatus",
        "import urllib.parse",
        "import websockets",
        "from aiohttp import web",
    ],
)
def test_the_walk_lets_harmless_imports_be(source: str) -> None:
    assert not list(clients_in(source))
