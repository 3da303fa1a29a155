"""A request as it came in over HTTP/1.1 (``wire.http1`` reads them)."""

from __future__ import annotations

import msgspec


class Request(msgspec.Struct, gc=False):
    """One request, whole. A Struct since one is made for each request, and that is how it is made fastest."""

    method: bytes
    path: bytes
    version: str
    headers: dict[bytes, bytes]
    """Names in lower case."""
    body: bytes
    keep_alive: bool
