"""A work queue, as a port: shaped so that one process, or NATS JetStream between machines, can stand behind it.

What it promises is what JetStream does. *Publishing* with an id that was published before, within the dedupe window, is
no second job. *Pulling* gives a job to one worker at a time, until an acknowledgement deadline: a worker that is not
heard of by then is taken for dead, and the job is given to another (``attempt`` counts). So a job is done at least
once, and may be done twice; whoever takes results keeps the first of an id. A job that was given out ``max_attempts``
times without an acknowledgement is dropped and counted.
"""

from __future__ import annotations

from typing import Protocol


class Delivery(Protocol):
    """A job in a worker's hands."""

    @property
    def id(self) -> str:
        """The job's id."""
        ...

    @property
    def payload(self) -> bytes:
        """What it was published with."""
        ...

    @property
    def attempt(self) -> int:
        """Which time it is given out; 1 is the first."""
        ...

    async def ack(self) -> None:
        """It is done: nobody gets it again. After the deadline this changes nothing that can be relied on."""
        ...

    async def nak(self, delay_s: float = 0.0) -> None:
        """It is not done: somebody may have it again, not before ``delay_s``."""
        ...

    async def term(self) -> None:
        """It never can be done: nobody is to get it again."""
        ...

    async def in_progress(self) -> None:
        """It takes longer: the deadline begins anew."""
        ...


class WorkQueue(Protocol):
    """Jobs between whoever has work and whoever does it."""

    async def publish(self, job_id: str, payload: bytes) -> bool:
        """Put a job in; False where its id is known, and nothing was put in."""
        ...

    async def pull(self, most: int, wait_s: float) -> list[Delivery]:
        """Take up to ``most`` jobs, as soon as there is one; none after ``wait_s`` without any."""
        ...

    async def count(self) -> int:
        """Jobs waiting or in a worker's hands."""
        ...

    async def close(self) -> None:
        """Let go; what waits stays where the engine keeps it."""
        ...
