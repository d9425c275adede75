"""How are the fake push services steered over HTTP: devices, faults, and who listens?

All below ``/push/`` of the mailbox's port:

``POST devices``         makes a device: ``kind`` (``apns``, ``fcm_token``, ``fcm_fid``, ``webpush``), and as one likes
                         ``name``, ``app``, ``environment``, ``platform``, ``sender``, ``application_server_key``;
                         ``register`` of the answer is the body for ``PUT /v1/users/{user}/devices/{name}``
``GET devices``          all; ``GET devices/NAME`` one, with what it shows
``POST devices/NAME``    changes it: ``state`` (``active``, ``uninstalled``, ``expired``, ``busy``, ``unavailable``),
                         ``online``, ``app``, ``sender``, ``environment``
``GET|POST|DELETE faults``    see ``push/faults.py``
``POST listening``       ``{"service": "apns", "listening": false}`` refuses connections and cuts open ones
``POST apps``            ``{"apps": ["org.example.app"]}``: other topics are disallowed from now on; null allows all
``GET settings``         where the services answer, and what accounts need
``GET counts``           connections, requests and refusals of each service
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TypeVar

import msgspec

from ulak.sandbox.push import faults
from ulak.sandbox.push.devices import Change, FakeDevice, Wanted
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.push_keys import PUSH, push_stand_in

T = TypeVar("T")


class _Listening(msgspec.Struct, forbid_unknown_fields=True):
    service: faults.ServiceName
    listening: bool


class _Apps(msgspec.Struct, forbid_unknown_fields=True):
    apps: list[str] | None


async def answer(push: PushServices, method: str, what: str, body: bytes) -> object | None:
    """The JSON answer to a call, or None when there is no such call; raises ``ValueError`` for a wrong body."""
    if what.startswith("devices/"):
        return _device(push, method, what.removeprefix("devices/"), body)
    if method == "DELETE" and what in {"faults", "devices"}:
        (push.faults if what == "faults" else push.devices).clear()
    elif method == "POST":
        return await _post(push, what, body)
    elif method != "GET":
        return None
    return _get(push, what)


async def _post(push: PushServices, what: str, body: bytes) -> object | None:
    match what:
        case "devices":
            return push.devices.make(_read(body, Wanted), push.now).report()
        case "faults":
            push.faults.arm(faults.decode(body))
        case "apps":
            apps = _read(body, _Apps).apps
            push.devices.apps = None if apps is None else frozenset(apps)
        case "listening":
            wish = _read(body, _Listening)
            port = push.ports.get("fcm" if wish.service == "token" else wish.service)
            if port is None:
                raise ValueError("service: does not run")
            await port.listening(wish.listening)
        case _:
            return None
    return _get(push, what)


def _device(push: PushServices, method: str, name: str, body: bytes) -> object | None:
    device: FakeDevice | None = push.devices.named(name)
    if device is None or method not in {"GET", "POST"}:
        return None
    if method == "POST":
        push.devices.change(device, _read(body, Change), push.now)
    return device.report()


def _get(push: PushServices, what: str) -> object | None:
    match what:
        case "devices":
            return {"items": [device.report() for device in push.devices.all()]}
        case "faults":
            return {"items": push.faults.report()}
        case "apps":
            return {"apps": None if push.devices.apps is None else sorted(push.devices.apps)}
        case "listening":
            return {name: port.is_listening for name, port in push.ports.items()}
        case "counts":
            return {name: asdict(tally) for name, tally in push.tallies.items()}
        case "settings":
            return {"push": push.places, "accounts": {name: push_stand_in(name, push.places) for name in PUSH}}
        case _:
            return None


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
