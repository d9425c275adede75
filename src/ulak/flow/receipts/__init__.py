"""Receipts: how does what is said later, by a client or a vendor, become durable?

A client's word (arrived, seen, read, archived): one transaction writes the inbox, the delivery's times and
state, the receipt, and the marker that stops later steps; only then is it answered (``Receipts``). A vendor's
(delivered, bounced, complained): its door stores the callback as it came, ``Applier`` applies it. An app's word on a
push (shown, opened, dismissed), proved by what came with the push: ``PushReceipts``.
"""

from ulak.flow.receipts.applier import Applier, ApplierSettings
from ulak.flow.receipts.pushes import PushReceipts, TooOften, Word
from ulak.flow.receipts.receipts import Receipts

__all__ = ["Applier", "ApplierSettings", "PushReceipts", "Receipts", "TooOften", "Word"]
