"""What comes back from a request that asks for nothing? ``Discarded``, at once."""

from __future__ import annotations

from ulak.providers.contract import Discarded, DiscardRequest


class DiscardSender:
    """Sends nothing, for the ``noop`` provider."""

    async def send(self, request: DiscardRequest, deadline: float) -> Discarded:
        """Answer at once; ``deadline`` (seconds) is never needed."""
        del request, deadline
        return Discarded()

    async def close(self) -> None:
        """Nothing is held."""
