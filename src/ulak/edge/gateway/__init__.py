"""The gateway door: sockets ``ulak.v1`` over ASGI, and the hub that tells them what changed."""

from ulak.edge.gateway.door import Gateway, GatewaySettings, Surroundings
from ulak.edge.gateway.hub import Hub, Pace

__all__ = ["Gateway", "GatewaySettings", "Hub", "Pace", "Surroundings"]
