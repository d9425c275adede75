"""Receipts: how does what is said later, by a client or a vendor, become durable?

A client's word (arrived, seen, read, archived): one transaction writes the inbox, the delivery's times and
state, the receipt, and the marker that stops later steps; only then is it answered (``Receipts``). A vendor's
(delivered, bounced, complained): its door stores the callback as it came, ``Applier`` applies it.
"""

from ulak.flow.receipts.applier import Applier, ApplierSettings
from ulak.flow.receipts.receipts import Receipts

__all__ = ["Applier", "ApplierSettings", "Receipts"]
