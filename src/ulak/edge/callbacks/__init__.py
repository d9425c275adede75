"""Callbacks: who may tell us what became of a message, and how is that kept before it is answered?"""

from ulak.edge.callbacks.accounts import Accounts
from ulak.edge.callbacks.door import PREFIX, CallbackDeps, CallbackDoor

__all__ = ["PREFIX", "Accounts", "CallbackDeps", "CallbackDoor"]
