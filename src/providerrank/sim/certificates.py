"""A seller's certificate for tests: a throw-away authority that exists in memory and nowhere else.

Needs ``trustme``, a development dependency, and imports it only when called.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Certificate:
    """Both ends of a TLS test."""

    server: ssl.SSLContext
    """For ``SimProviders(tls=...)``."""
    client: ssl.SSLContext
    """Trusts the throw-away authority and nobody else; verifies the host name."""
    authority_pem: bytes
    """The authority's certificate, for clients that are configured with a file."""


def make_certificate(*names: str) -> Certificate:
    """Make an authority and a certificate for host names or addresses (``localhost`` and ``127.0.0.1`` when none)."""
    import trustme

    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Certificate(server, client, authority.cert_pem.bytes())
