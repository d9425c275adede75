"""How does a backend speak to whoever is connected now?

Such a message is kept nowhere: who is not connected, or reads slowly, never sees it. What must arrive is a
notification.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ulak.core import jsonsafe, topic
from ulak.edge.api import wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.problem import refused
from ulak.edge.api.router import Call


class EphemeralBody(Struct, forbid_unknown_fields=True):
    """What listeners are to see: a JSON object of at most 8 kB."""

    data: dict[str, Any]


def _data(call: Call) -> str:
    body: EphemeralBody = call.body
    text = jsonsafe.canonical(body.data)
    if len(text) > topic.MAX_DATA:
        hint = "send a reference, and let clients fetch the rest"
        raise refused(413, "data_too_large", f"{len(text)} of at most {topic.MAX_DATA} bytes", hint, path="$.data")
    return text.decode()


async def publish(call: Call) -> Response:
    """Send a message to everybody who listens to a topic at this moment."""
    name = call.params["topic"]
    everywhere = call.deps.bus.publish(call.tenant, name, topic.message_text(name, _data(call), call.now))
    return answer(wire.PublishAnswer(call.now, everywhere), 202)


async def broadcast(call: Call) -> Response:
    """Send a message to every open connection of this tenant."""
    everywhere = call.deps.bus.publish(call.tenant, None, topic.notice_text(_data(call), call.now))
    return answer(wire.PublishAnswer(call.now, everywhere), 202)
