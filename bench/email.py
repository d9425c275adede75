"""How many emails a CPU-second, from a template and its data to the bytes of a message?

Rendered, formatted for the reader, CSS in place, text part, MIME, checked. Beside it in the same run, each in a
process of its own: Jinja2 + Markdown + premailer + ``EmailMessage``, and Django's templates with django-anymail.
The peers are installed into a cache folder, never into the project's environment. DKIM is measured apart, and so
is the way through the SES adapter: rendered, signed, sent over HTTP to the sandbox, which is a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from bench.common import Contest, Goal, Options, _machine, cached_peers, cpu_rates, rounded
from bench.email_peers import BODY, MORE, data
from ulak.core.content.email import EmailContent
from ulak.core.content.headers import Facts
from ulak.core.content.mime import Stamp, build
from ulak.core.model import Account, Channel
from ulak.core.project import load
from ulak.core.render import Renderer
from ulak.core.sign import dkim
from ulak.io.outbound.egress import networks
from ulak.io.outbound.vendor import VendorSender
from ulak.node import sandboxed
from ulak.providers.contract import HttpReply, Message
from ulak.providers.email import ses

PEERS = ("jinja2==3.1.6", "markdown==3.10", "premailer==3.10.0", "django==5.2.8", "django-anymail==13.1")
MAIN = """
[email]
from = "Octo <octo@example.com>"
[types.order]
category = "orders"
class = "transactional"
route = [{ channel = "email" }]
"""
FRONT = '+++\nsubject = "Order {{ data.number }} is on its way"\npreheader = "It should be with you soon."\n+++\n'
FORMATTED = """
| what | how much |
|---|---|
| Goods | {{ data.goods | currency("EUR") }} |
| Sent | {{ data.at | datetime }} |
"""
LINES = 12
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FACTS = Facts("example.com", "dlv_01", "att_01_1", "order", "orders", "transactional", "https://example.com/u/token")
STAMP = Stamp("ada@example.com", NOW, "dlv01", FACTS)


def run(options: Options) -> dict[str, Any]:
    """Measure it; everything found, ready for JSON."""
    before = os.getloadavg()[0]
    many = options.items(10_000)
    contests, notes = _contests()
    counts = {name: many // 5 if name.startswith(("peer", "send")) else many for name in contests}
    results = cpu_rates(contests, counts, options.rounds)
    return {
        "bench": "email",
        "rounds": options.rounds,
        "quick": options.quick,
        "sizes": _sizes(),
        "machine": _machine(before),
        "results": results,
        "ratios": _ratios(results),
        "goals": [goal.plain() for goal in _goals(results)],
        "notes": notes,
    }


def _contests() -> tuple[dict[str, Contest], list[str]]:
    notes: list[str] = []
    contests: dict[str, Contest] = {
        "template to MIME": lambda count: _messages(_renderer(), count),
        "template to MIME, with dates and amounts": lambda count: _messages(_renderer(FORMATTED), count),
        "template to MIME, no skeleton kept": lambda count: _messages(_renderer(), count // 2, cold=True) * 2,
        "DKIM alone, RSA 2048": lambda count: _signed(rsa.generate_private_key(65537, 2048), count // 5) * 5,
        "DKIM alone, Ed25519": lambda count: _signed(ed25519.Ed25519PrivateKey.generate(), count),
        "send through the SES adapter": _sent,
    }
    folder = cached_peers("email", PEERS)
    if folder is None:
        notes.append("the peers could not be installed; they are left out")
    for peer in ("premailer", "anymail") if folder is not None else ():
        contests[f"peer {peer}"] = lambda count, peer=peer: _peer(str(folder), peer, count)  # type: ignore[misc]
    return contests, notes


def _renderer(more: str = "") -> Renderer:
    return Renderer(load({"ulak.toml": MAIN, "templates/order/email.en.md": FRONT + BODY + more + MORE}))


def _content(renderer: Renderer, number: int) -> EmailContent:
    context = {
        "data": data(number, LINES),
        "user": {"id": f"u{number}", "locale": "en-GB", "timezone": "Europe/London"},
        "notification": {"id": "ntf_1", "type": "order"},
        "actor": None,
    }
    return renderer.email("order", "en-GB", context)


def _messages(renderer: Renderer, count: int, *, cold: bool = False) -> float:
    build(_content(renderer, 0), STAMP)
    began = time.process_time()
    for number in range(count):
        if cold:  # as when every message has a list of another length
            renderer._emails._kept.clear()
        build(_content(renderer, number), STAMP)
    return time.process_time() - began


def _signed(key: Any, count: int) -> float:
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    signer = dkim.load("example.com", "mail", text)
    message = build(_content(_renderer(), 1), STAMP)
    began = time.process_time()
    for _ in range(count):
        signer.sign(message, NOW)
    return time.process_time() - began


# ----------------------------------------------------------------------------------------------- sending


def _sent(count: int) -> float:
    with _sandbox() as url:
        return asyncio.run(_send_all(url, count))


async def _send_all(url: str, count: int) -> float:
    settings = {"region": "eu-central-1"}
    account = sandboxed(Account("ses", "ses", Channel.EMAIL, concurrency=16, settings=settings), "127.0.0.1:1", url)
    sender = VendorSender(account, networks(["127.0.0.1/32"]))
    renderer = _renderer()
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            content = _content(renderer, number)
            message = Message(
                f"dlv_{number:032d}", f"att_{number:032d}_1", "ada@example.com", content, NOW + timedelta(hours=1)
            )
            request = ses.build([message], account, datetime.now(UTC))
            reply = await sender.send(request, 30.0)
            if not isinstance(reply, HttpReply) or reply.status != 200:
                raise RuntimeError(f"the sandbox did not take a message: {reply}")

    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(16)))
    spent = time.process_time() - began
    await sender.close()
    return spent


@contextmanager
def _sandbox() -> Iterator[str]:
    ports = ["--smtp-port", "0", "--http-port", "0", "--vendor-port", "0"]
    child = subprocess.Popen(
        [sys.executable, "-m", "ulak", "sandbox", *ports], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert child.stdout is not None
        yield json.loads(child.stdout.readline())["vendors_url"]
    finally:
        child.terminate()
        child.wait(10)


# ------------------------------------------------------------------------------------------------- peers


def _peer(folder: str, name: str, count: int) -> float:
    script = Path(__file__).with_name("email_peers.py")
    environment = {**os.environ, "PYTHONPATH": folder}
    done = subprocess.run(
        [sys.executable, "-P", str(script), name, str(count)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return float(json.loads(done.stdout)["cpu"])


# ----------------------------------------------------------------------------------------------- reports


def _sizes() -> dict[str, int]:
    content = _content(_renderer(), 1)
    html = content.html or ""
    return {"html": len(html.encode()), "text": len(content.text.encode()), "mime": len(build(content, STAMP))}


def _ratios(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    ours = results["template to MIME"]["per_cpu_second"]
    peers = {name: found["per_cpu_second"] for name, found in results.items() if name.startswith("peer")}
    return {f"template to MIME / {name}": rounded(ours / theirs) for name, theirs in peers.items() if theirs}


def _goals(results: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
    return [
        Goal("template to MIME, messages a CPU-second", 2_000, results["template to MIME"]["per_cpu_second"]),
        Goal(
            "through the SES adapter, messages a CPU-second",
            800,
            results["send through the SES adapter"]["per_cpu_second"],
        ),
    ]


def table(found: Mapping[str, Any]) -> str:
    """What people read."""
    machine, sizes = found["machine"], found["sizes"]
    quick = " (quick: says little)" if found["quick"] else ""
    octets = f"HTML {sizes['html']}, text {sizes['text']}, message {sizes['mime']} octets"
    load_told = f"load {machine['load_before']:g} to {machine['load_after']:g}"
    lines = [
        f"ulak bench email: medians of {found['rounds']}{quick}",
        f"{machine['cores']} cores, {load_told}, Python {machine['python']}; {octets}",
        "",
    ]
    lines += [f"{name:50} {result['per_cpu_second']:>10,g} a CPU-second" for name, result in found["results"].items()]
    lines += ["", *(f"{name:50} x {value:g}" for name, value in found["ratios"].items()), ""]
    for goal in found["goals"]:
        verdict = "reached" if goal["reached"] else "MISSED"
        lines.append(f"{verdict:8} {goal['what']:50} {goal['goal']:>10}   measured {goal['measured']:,g}")
    return "\n".join([*lines, *found["notes"]])
