"""Which servers does a client believe to be who they say they are?

Those whose certificates the system trusts, and where an operator named a file, those signed by its certificates too.
"""

from __future__ import annotations

import ssl


def context(ca_file: str | None = None, protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
    """A client's context that verifies certificates and host names, with TLS 1.2 or newer.

    ``ca_file`` is a PEM file of further certificates to trust; ``protocols`` are offered by ALPN, the best first.
    Raises ``OSError`` (``ssl.SSLError`` among them) for a file that can not be read as such.
    """
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        made.load_verify_locations(cafile=ca_file)
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made
