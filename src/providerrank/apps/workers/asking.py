"""What is remembered of requests, asked of all workers."""

from __future__ import annotations

from typing import Protocol

import msgspec
from typing_extensions import override

from providerrank.apps.admin.requests import RequestSource
from providerrank.apps.workers import messages
from providerrank.rules.explanation import Brief, Explanation

_decode_found: msgspec.msgpack.Decoder[Explanation | None] = msgspec.msgpack.Decoder(Explanation | None)
_decode_latest: msgspec.msgpack.Decoder[list[Brief]] = msgspec.msgpack.Decoder(list[Brief])


class Asked(Protocol):
    """The part of a crew that is needed here."""

    async def ask(self, kind: str, body: bytes = b"") -> list[bytes]:
        """The answers of all workers that gave one."""


class CrewRequests(RequestSource):
    """Those of all workers; each remembers ``size``."""

    def __init__(self, crew: Asked, size: int) -> None:
        self._crew = crew
        self._size = size

    @property
    @override
    def size(self) -> int:
        return self._size

    @override
    async def find(self, request_id: str) -> Explanation | None:
        answers = await self._crew.ask(messages.EXPLAIN, request_id.encode("utf-8", "replace"))
        found = [one for answer in answers if (one := _decode_found.decode(answer)) is not None]
        return max(found, key=lambda one: one.at_s, default=None)

    @override
    async def get_latest(self, limit: int) -> list[Brief]:
        answers = await self._crew.ask(messages.LATEST, messages.encode(limit))
        briefs = [brief for answer in answers for brief in _decode_latest.decode(answer)]
        briefs.sort(key=lambda brief: brief.at_s, reverse=True)
        return briefs[:limit]
