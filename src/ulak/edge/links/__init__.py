"""Links in messages: where do users say no without a login? Entry: ``LinkDoor``."""

from ulak.edge.links.door import PREFIXES, LinkDeps, LinkDoor

__all__ = ["PREFIXES", "LinkDeps", "LinkDoor"]
