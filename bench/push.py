"""How many pushes a CPU-second of the sender, to APNs, FCM and browsers?

Each contestant sends to the strict sandbox, a process of its own, over TLS on loopback, by 100 callers at once. Ours
does all of a call: the payload is built, a Web Push is sealed, the credential is looked up, the answer is read. Not in
it: the template, the attempt row and the outcome in PostgreSQL, which `bench pipeline` measures. Beside it in the same
run: aioapns and httpx with HTTP/2, which are given a finished payload; they are installed into a cache folder, never
into the project's environment. What CPU the sandbox takes is left out.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import msgspec
import uvloop

from bench.common import Contest, Goal, Options, _machine, cached_peers, cpu_rates, rounded
from ulak.core.content.push import PushContent
from ulak.core.device import AddressKind, Device
from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind
from ulak.io.outbound.egress import networks
from ulak.node import push_sender, sandboxed
from ulak.providers.contract import Message, Provider
from ulak.providers.registry import PROVIDERS
from ulak.sandbox.push_keys import KEY_ID, TEAM, p8

PEERS = ("aioapns==4.0", "httpx[http2]==0.28.1", "sniffio==1.3.1")
CALLERS = 100
DEVICES = 200
APP = "org.example.app"
CONTENT = PushContent(
    title="Your order is on its way",
    body="It left us this morning and should be with you on Thursday, between nine and noon.",
    url="https://shop.example/track/1017",
    thread="orders",
    data={"order": "1017", "carrier": "example"},
)
KINDS = {"apns": AddressKind.APNS, "fcm": AddressKind.FCM_TOKEN, "webpush": AddressKind.WEBPUSH}
ACCOUNTS: Mapping[str, Mapping[str, object]] = {
    "apns": {"team_id": TEAM, "key_id": KEY_ID, "private_key_env": "NOT_SET", "apps": [APP]},
    "fcm": {"service_account_env": "NOT_SET"},
    "webpush": {"subject": "mailto:push@example.com", "private_key_env": "NOT_SET", "public_key": "unset"},
}
NAMES = {"apns": "APNs", "fcm": "FCM", "webpush": "Web Push"}


def run(options: Options) -> dict[str, Any]:
    """Measure it; everything found, ready for JSON."""
    before = os.getloadavg()[0]
    many = options.items(10_000)
    contests, notes = _contests()
    counts = {name: many // 10 if name == "peer httpx" else many for name in contests}
    results = cpu_rates(contests, counts, options.rounds)
    return {
        "bench": "push",
        "rounds": options.rounds,
        "quick": options.quick,
        "payload_bytes": {name: _payload(name) for name in KINDS},
        "callers": CALLERS,
        "in_it": "payload, sealing, credential, HTTP, TLS, reading the answer",
        "not_in_it": "template, attempt row, outcome in PostgreSQL, the sandbox's CPU",
        "machine": _machine(before),
        "results": results,
        "ratios": _ratios(results),
        "goals": [goal.plain() for goal in _goals(results)],
        "notes": notes,
    }


def _contests() -> tuple[dict[str, Contest], list[str]]:
    notes: list[str] = []
    contests: dict[str, Contest] = {
        NAMES[name]: lambda count, name=name: _ours(name, count)  # type: ignore[misc]
        for name in KINDS
    }
    folder = cached_peers("push", PEERS)
    if folder is None:
        notes.append("the peers could not be installed; they are left out")
    for peer in ("aioapns", "httpx") if folder is not None else ():
        contests[f"peer {peer}"] = lambda count, peer=peer: _peer(str(folder), peer, count)  # type: ignore[misc]
    return contests, notes


# ------------------------------------------------------------------------------------------------- ours


@dataclass(frozen=True, slots=True)
class Place:
    """The sandbox: its push services as ``ULAK_SANDBOX_PUSH`` names them, and devices made there."""

    push: str
    devices: Sequence[Device]


def _message(device: Device, number: int) -> Message:
    return Message(
        delivery=f"dlv_{uuid.UUID(int=number + (7 << 76) + (1 << 127)).hex}",
        attempt=f"att_{number:032x}_1",
        target=device.id,
        content=CONTENT,
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        type="order",
        notification=f"ntf_{number:032x}",
        device=device,
        badge=3,
        receipt="r" * 88,
        entropy=os.urandom(48),
    )


def _account(name: str, push: str) -> Account:
    declared = Account(name, name, Channel.PUSH, concurrency=CALLERS, settings=ACCOUNTS[name])
    return sandboxed(declared, "127.0.0.1:9", "", push)


def _ours(name: str, count: int) -> float:
    with _sandbox(KINDS[name]) as place:
        return uvloop.run(_send_all(name, place, count))


async def _send_all(name: str, place: Place, count: int) -> float:
    account, provider = _account(name, place.push), PROVIDERS[name]
    sender = push_sender(account, networks(["127.0.0.1/32"]))
    devices = itertools.cycle(place.devices)
    numbers = iter(range(1, count + 1))

    async def send(number: int) -> None:
        message = _message(next(devices), number)
        now = datetime.now(UTC)
        request: Any = provider.build([message], account, now)
        (verdict,) = provider.read(await sender.send(request, 30.0), [message], account, now)
        if verdict.kind is not Kind.ACCEPTED:
            raise RuntimeError(f"the sandbox did not take a push: {verdict}")

    async def work() -> None:
        for number in numbers:
            await send(number)

    await send(0)  # a connection and a credential are there, as for the peers
    await asyncio.sleep(0.2)
    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(CALLERS)))
    spent = time.process_time() - began
    await sender.close()
    return spent


def _payload(name: str) -> int:
    """Bytes of a request's body."""
    kind, key = KINDS[name], "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
    web = {"p256dh": key, "auth": "A" * 22, "address": "https://a/wpush/v2/x"}
    own: dict[str, Any] = (
        web if kind is AddressKind.WEBPUSH else {"address": "ab" * 32 if name == "apns" else "x:" + "y" * 140}
    )
    device = Device(id="dev_1", kind=kind, app=APP, platform="other", registered_at=datetime.now(UTC), **own)
    places = {"apns": "https://a", "apns_sandbox": "https://a", "fcm": "https://a", "webpush": "https://a", "ca": "/a"}
    provider: Provider = PROVIDERS[name]
    request: Any = provider.build([_message(device, 1)], _account(name, json.dumps(places)), datetime.now(UTC))
    return len(request.body)


# ---------------------------------------------------------------------------------------------- sandbox


@contextmanager
def _sandbox(kind: AddressKind) -> Iterator[Place]:
    ports = [f"--{name}-port=0" for name in ("smtp", "http", "vendor", "push")]
    child = subprocess.Popen(
        [sys.executable, "-m", "ulak", "sandbox", *ports], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert child.stdout is not None
        ready = json.loads(child.stdout.readline())
        yield Place(json.dumps(ready["push"]), [_device(ready["url"], kind) for _ in range(DEVICES)])
    finally:
        child.terminate()
        child.wait(10)
        if child.stdout is not None:
            child.stdout.close()


def _device(url: str, kind: AddressKind) -> Device:
    """A device that the sandbox knows, as its app would register it."""
    body = json.dumps({"kind": kind, "app": APP}).encode()
    request = Request(f"{url}/push/devices", body, {"Content-Type": "application/json"})
    with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
        told = msgspec.json.decode(answer.read())["register"]
    subscription = told.get("subscription") or {}
    return Device(
        id="dev_1",
        kind=kind,
        app=APP,
        platform=told["platform"],
        address=told.get("token") or subscription["endpoint"],
        registered_at=datetime.now(UTC),
        **subscription.get("keys", {}),
    )


# ------------------------------------------------------------------------------------------------- peers


def _peer(folder: str, name: str, count: int) -> float:
    script = Path(__file__).with_name("push_peers.py")
    with _sandbox(AddressKind.APNS) as place:
        push = json.loads(place.push)
        at = urlsplit(push["apns"])
        given = {
            "host": at.hostname,
            "port": at.port,
            "ca": push["ca"],
            "tokens": [device.address for device in place.devices],
            "key": p8(),
            "key_id": KEY_ID,
            "team_id": TEAM,
            "topic": APP,
            "message": {
                "aps": {"alert": {"title": CONTENT.title, "body": CONTENT.body}, "badge": 3, "sound": "default"},
                "url": CONTENT.url,
                "data": dict(CONTENT.data),
                "ulak": {"notification": f"ntf_{1:032x}", "type": "order", "receipt": "r" * 88},
            },
        }
        done = subprocess.run(
            [sys.executable, "-P", str(script), name, str(count), str(CALLERS)],
            check=False,
            capture_output=True,
            text=True,
            input=json.dumps(given),
            env={**os.environ, "PYTHONPATH": folder},
            timeout=600,
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-800:])
    return float(json.loads(done.stdout)["cpu"])


# ----------------------------------------------------------------------------------------------- reports


def _ratios(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    ours = results["APNs"]["per_cpu_second"]
    peers = {name: found["per_cpu_second"] for name, found in results.items() if name.startswith("peer")}
    return {f"APNs / {name}": rounded(ours / theirs) for name, theirs in peers.items() if theirs}


def _goals(results: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
    wanted = {"APNs": 2_000, "FCM": 2_000, "Web Push": 1_000}
    goals = [
        Goal(f"{name}, sends a CPU-second", goal, results[name]["per_cpu_second"]) for name, goal in wanted.items()
    ]
    ratios = _ratios(results)
    for peer, goal in (("httpx", 5.0), ("aioapns", 1.3)):
        if f"APNs / peer {peer}" in ratios:
            goals.append(Goal(f"APNs, times {peer}", goal, ratios[f"APNs / peer {peer}"]))
    return goals


def table(found: Mapping[str, Any]) -> str:
    """What people read."""
    machine = found["machine"]
    quick = " (quick: says little)" if found["quick"] else ""
    sizes = ", ".join(f"{NAMES[name]} {size}" for name, size in found["payload_bytes"].items())
    load_told = f"load {machine['load_before']:g} to {machine['load_after']:g}"
    lines = [
        f"ulak bench push: medians of {found['rounds']}{quick}",
        f"{machine['cores']} cores, {load_told}, Python {machine['python']}, {found['callers']} callers, TLS on",
        f"bodies in bytes: {sizes}",
        f"in it: {found['in_it']}; not in it: {found['not_in_it']}",
        "",
    ]
    lines += [f"{name:30} {result['per_cpu_second']:>10,g} a CPU-second" for name, result in found["results"].items()]
    lines += ["", *(f"{name:30} x {value:g}" for name, value in found["ratios"].items()), ""]
    for goal in found["goals"]:
        verdict = "reached" if goal["reached"] else "MISSED"
        lines.append(f"{verdict:8} {goal['what']:30} {goal['goal']:>10}   measured {goal['measured']:,g}")
    return "\n".join([*lines, *found["notes"]])
