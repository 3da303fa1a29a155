"""What the admin port asks of the requests that were served: one to be explained, and the latest.

A port, since requests may be remembered elsewhere: with several worker processes each remembers its own.
"""

from __future__ import annotations

from typing import Protocol

from typing_extensions import override

from providerrank.gateway.ring import Ring
from providerrank.rules.explanation import Brief, Explanation


class RequestSource(Protocol):
    """Where finished requests are remembered."""

    @property
    def size(self) -> int:
        """How many are remembered; 0: none ever."""

    async def find(self, request_id: str) -> Explanation | None:
        """Explain the latest request of this id; None when it is not, or no longer, known."""

    async def get_latest(self, limit: int) -> list[Brief]:
        """The latest requests, the newest first."""


class RingRequests(RequestSource):
    """Those of this process; ``ring`` None: none are remembered."""

    def __init__(self, ring: Ring | None) -> None:
        self._ring = ring

    @property
    @override
    def size(self) -> int:
        return 0 if self._ring is None else self._ring.size

    @override
    async def find(self, request_id: str) -> Explanation | None:
        return None if self._ring is None else self._ring.find(request_id)

    @override
    async def get_latest(self, limit: int) -> list[Brief]:
        return [] if self._ring is None else self._ring.get_latest(limit)
