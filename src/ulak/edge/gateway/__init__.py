"""The gateway door: sockets ``ulak.v1``, and the hub that tells them what changed."""

from ulak.edge.gateway.admission import Room
from ulak.edge.gateway.door import Gateway
from ulak.edge.gateway.house import GatewaySettings, Rights, Surroundings
from ulak.edge.gateway.hub import Hub
from ulak.edge.gateway.model import Pace

__all__ = ["Gateway", "GatewaySettings", "Hub", "Pace", "Rights", "Room", "Surroundings"]
