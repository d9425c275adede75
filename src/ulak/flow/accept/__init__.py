"""Accept: how does a request become durable, together with the others that arrive at the same moment?

Requests wait in one queue; a few flushers take all that has queued, store it in one transaction and
answer. There is no artificial delay: a flusher that is free takes what is there, so a single caller
waits for one commit only and a thousand share one. A request that PostgreSQL can't store is found by
halving the group, so that nobody sees another's fault.
"""

from ulak.flow.accept.acceptor import Acceptor
from ulak.flow.accept.model import Accepted, AcceptRequest, Conflict, Rejected, Result

__all__ = ["AcceptRequest", "Accepted", "Acceptor", "Conflict", "Rejected", "Result"]
