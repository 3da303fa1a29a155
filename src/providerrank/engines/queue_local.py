"""A work queue inside one process: JetStream's promises, kept in memory.

Nothing outlives the process: whoever publishes does so again after a restart, from its journal.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from providerrank.market.queue import Delivery

ACK_WAIT_S: Final = 180.0
"""Longer than a request may take: a worker still at it is not dead."""
MAX_ATTEMPTS: Final = 3
DEDUPE_MOST: Final = 100_000
"""Ids remembered; JetStream remembers by time, here it is by number."""


@dataclass(slots=True)
class _Job:
    id: str
    payload: bytes
    attempts: int = 0


@dataclass(slots=True)
class _Held:
    """One delivery; void once it was answered, or its deadline has passed."""

    queue: LocalQueue
    job: _Job
    attempt: int
    deadline_s: float

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def payload(self) -> bytes:
        return self.job.payload

    async def ack(self) -> None:
        self.queue.release(self)

    async def nak(self, delay_s: float = 0.0) -> None:
        if self.queue.release(self):
            self.queue.put_back(self.job, delay_s)

    async def term(self) -> None:
        self.queue.release(self)

    async def in_progress(self) -> None:
        self.queue.extend(self)


@dataclass(slots=True)
class LocalQueue:
    """A ``WorkQueue`` of one event loop."""

    ack_wait_s: float = ACK_WAIT_S
    max_attempts: int = MAX_ATTEMPTS
    dropped: int = 0
    """Jobs given out ``max_attempts`` times in vain."""
    _ready: list[tuple[float, int, _Job]] = field(default_factory=list)
    _held: dict[str, _Held] = field(default_factory=dict)
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _place: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, job_id: str, payload: bytes) -> bool:
        """Put a job in, once."""
        if job_id in self._seen:
            return False
        self._seen[job_id] = None
        if len(self._seen) > DEDUPE_MOST:
            self._seen.popitem(last=False)
        self.put_back(_Job(job_id, payload), 0.0)
        return True

    async def pull(self, most: int, wait_s: float) -> list[Delivery]:
        """Take jobs."""
        until_s = self._now_s() + wait_s
        while True:
            taken = self._take(most)
            left_s = until_s - self._now_s()
            if taken or left_s <= 0:
                return taken
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(left_s, self._get_next_s()))
            except TimeoutError:
                continue

    async def count(self) -> int:
        """Waiting and held."""
        return len(self._ready) + len(self._held)

    async def close(self) -> None:
        """Forget everything."""
        self._ready.clear()
        self._held.clear()

    def put_back(self, job: _Job, delay_s: float) -> None:
        """Have a job given out, not before ``delay_s``."""
        self._place += 1
        heapq.heappush(self._ready, (self._now_s() + delay_s, self._place, job))
        self._changed.set()

    def release(self, held: _Held) -> bool:
        """Take a delivery from its worker's hands; False where it is no longer in them."""
        if self._held.get(held.id) is not held:
            return False
        del self._held[held.id]
        return True

    def extend(self, held: _Held) -> None:
        """Begin its deadline anew."""
        held.deadline_s = self._now_s() + self.ack_wait_s

    def _take(self, most: int) -> list[Delivery]:
        now_s = self._now_s()
        for held in [one for one in self._held.values() if one.deadline_s <= now_s]:
            del self._held[held.id]
            self.put_back(held.job, 0.0)
        taken: list[Delivery] = []
        while len(taken) < most and self._ready and self._ready[0][0] <= self._now_s():
            _, _, job = heapq.heappop(self._ready)
            if job.attempts >= self.max_attempts:
                self.dropped += 1
                continue
            job.attempts += 1
            held = _Held(self, job, job.attempts, now_s + self.ack_wait_s)
            self._held[job.id] = held
            taken.append(held)
        return taken

    def _get_next_s(self) -> float:
        """Until something falls due by itself."""
        times = [one.deadline_s for one in self._held.values()]
        if self._ready:
            times.append(self._ready[0][0])
        return max(0.0, min(times) - self._now_s()) + 1e-3 if times else ACK_WAIT_S

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
