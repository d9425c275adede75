"""The door for programs: the HTTP API under ``/v1``, its manual, and the node's health."""

from ulak.edge.api.app import Api
from ulak.edge.api.deps import ApiDeps

__all__ = ["Api", "ApiDeps"]
