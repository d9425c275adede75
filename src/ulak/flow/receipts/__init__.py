"""Receipts: how does what a client says later (arrived, seen, read, archived) become durable?

One transaction writes the inbox, the delivery's times and state, the receipt, and the marker that stops
later steps; only then is it answered.
"""

from ulak.flow.receipts.receipts import Receipts

__all__ = ["Receipts"]
