"""Which header fields does every email of ours carry, whoever sends it?

One function for SMTP and for vendors with an API, so that a message is recognised, sorted and unsubscribed
from in the same way by whichever account it leaves. A vendor that refuses one of the fields leaves it out
by a table of its own (most write ``Message-ID`` themselves).

Values are ours or matched against a narrow grammar: none can start another field.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import msgspec

from ulak.core.content.address import normalise_email
from ulak.core.content.email import ContentError

ONE_CLICK = "List-Unsubscribe=One-Click"
"""The one value that RFC 8058 §3.1 knows."""

_TOKEN = re.compile(r"[A-Za-z0-9_=.-]{1,70}\Z")
_DOMAIN = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+\Z")
_LINK = re.compile(r"https://[!-;=?-~]{1,800}\Z")
_NOT_ATOM = re.compile(r"[^a-z0-9_-]+")


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What the fields tell: ids of ours, the type, where a recipient says no.

    ``domain`` is that of the sender's address. ``unsubscribe`` is an HTTPS URL that takes one-click POSTs
    (RFC 8058), ``mailto`` an address that takes the same wish by mail.
    """

    domain: str
    delivery: str
    attempt: str
    type: str = ""
    category: str = ""
    klass: str = ""
    unsubscribe: str | None = None
    mailto: str | None = None


def fields(facts: Facts) -> tuple[tuple[str, str], ...]:
    """Name and value of each field, not folded yet; raises ``ContentError`` for an unusable fact.

    ``Message-ID`` is made of the delivery, so that a repeated send can be told by mailboxes;
    ``Auto-Submitted`` keeps vacation programs still (RFC 3834 §5); ``List-Id`` names the type
    (RFC 2919) and ``Feedback-ID`` the stream of mail that complaints are counted for.
    """
    found = [
        ("Message-ID", f"<{_token(facts.delivery, 'delivery')}@{_domain(facts.domain)}>"),
        ("Auto-Submitted", "auto-generated"),
    ]
    if facts.type:
        found.append(("List-Id", list_id(facts.type, facts.domain)))
        found.append(("Feedback-ID", feedback_id(facts.type, facts.category, facts.klass, facts.domain)))
    found += _unsubscribe(facts)
    found.append(("X-Ulak-Delivery", facts.delivery))
    found.append(("X-Ulak-Attempt", _token(facts.attempt, "attempt")))
    return tuple(found)


@lru_cache(maxsize=1024)
def list_id(type_: str, domain: str) -> str:
    """``<order-shipped.example.com>``: stable for a type, at most 255 characters (RFC 2919 §2)."""
    return f"<{_atom(type_)[: max(1, 250 - len(domain))]}.{domain}>"


@lru_cache(maxsize=1024)
def feedback_id(type_: str, category: str, klass: str, domain: str) -> str:
    """Type, category, class and a sender that is the same for all mail of a domain (Gmail: 5 to 15 characters)."""
    sender = f"ulak{hashlib.sha256(domain.encode()).hexdigest()[:8]}"
    return ":".join((_atom(type_)[:100], _atom(category)[:100], _atom(klass), sender))


def _unsubscribe(facts: Facts) -> list[tuple[str, str]]:
    """RFC 2369 and RFC 8058: the URL comes first, since readers take the first that they know."""
    ways = []
    if facts.unsubscribe is not None:
        if _LINK.match(facts.unsubscribe) is None:
            raise ContentError("invalid_link", "the unsubscribe link must be an https URL of printable ASCII")
        ways.append(f"<{facts.unsubscribe}>")
    if facts.mailto is not None:
        address = normalise_email(facts.mailto.removeprefix("mailto:"))
        if address is None or not address.replace("%", "").isprintable():
            raise ContentError("invalid_link", "the unsubscribe mailbox must be one address")
        ways.append(f"<mailto:{address.replace('%', '%25').replace('?', '%3F').replace('&', '%26')}>")
    if not ways:
        return []
    found = [("List-Unsubscribe", ", ".join(ways))]
    if facts.unsubscribe is not None:
        found.append(("List-Unsubscribe-Post", ONE_CLICK))
    return found


def _token(value: str, what: str) -> str:
    if _TOKEN.match(value) is None:
        raise ContentError("invalid_header", f"the {what} id holds characters that it may not")
    return value


def _domain(value: str) -> str:
    if _DOMAIN.match(value) is None or len(value) > 253:
        raise ContentError("invalid_header", "the sender's domain holds characters that it may not")
    return value


def _atom(name: str) -> str:
    """A name as an atom that no reader stumbles over."""
    return _NOT_ATOM.sub("-", name.lower()).strip("-") or "-"
