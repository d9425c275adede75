"""What is one email address, and in which single form is it kept, compared and put on the wire?

Conservative on purpose (RFC 5321 §4.1.2, RFC 5322 §3.4.1): a dot-atom before the ``@`` and a domain of
letters, digits and hyphens with at least two labels after it. No quoted local part, no comments, no address
literals, no list. A non-ASCII domain becomes A-labels; a non-ASCII local part would need SMTPUTF8 on every
hop and is refused. ``=?`` is legal in a local part but reads as an encoded word to careless software: refused.
"""

from __future__ import annotations

import re

LONGEST = 254
"""Octets of the longest address that fits a RCPT path (RFC 3696 erratum 1690)."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"(?=.{{1,64}}\Z)(?!.*=\?){_ATOM}(?:\.{_ATOM})*\Z")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?!\d+\Z){_LABEL}\Z")


def normalise_email(text: str) -> str | None:
    """The one form of an address that is stored and sent to; None unless it is exactly one address.

    Surrounding white space goes, the domain becomes lower-case A-labels (IDNA 2003, as the standard library
    has it). The local part is left alone: RFC 5321 §2.4 lets only its own host judge its case.
    """
    local, at, domain = text.strip(" \t\r\n").rpartition("@")
    if not at or _LOCAL.match(local) is None or len(domain) > LONGEST:
        return None
    domain = domain.lower()
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return None
    if _DOMAIN.match(domain) is None or len(local) + 1 + len(domain) > LONGEST:
        return None
    return f"{local}@{domain}"


def suppression_key(address: str) -> str:
    """The form under which a normalised address is suppressed: wholly lower-case.

    Two spellings of a local part reach the same mailbox nearly everywhere, so a no to one is a no to both.
    """
    return address.lower()


def domain_of(address: str) -> str:
    """The domain of a normalised address."""
    return address.rpartition("@")[2]
