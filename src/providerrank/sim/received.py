"""What an endpoint was sent, and what became of it: evidence for tests. Bounded in requests and in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from providerrank.sim.faults import Fault

KEPT_REQUESTS = 1_000
KEPT_BODY_BYTES = 64 * 1024
"""Of each request's body; ``body_bytes`` is its true length."""


@dataclass(slots=True)
class Received:
    """One request. Times are seconds since the world's clock was started."""

    number: int
    """Counts this endpoint's requests from 1, bodies of all kinds."""
    connection: int
    """Counts this endpoint's connections from 1."""
    nth: int
    """The request's place on its connection, from 1."""
    at_s: float
    method: str
    path: str
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes
    body_bytes: int
    fault: Fault | None = None
    """What was played on it."""
    skipped: Fault | None = None
    """What would have been played on it, had it a meaning there (``sim.apis`` says why not)."""
    answered_at_s: float | None = None
    """When the last byte was handed to the socket; None while that has not happened."""
    left_at_s: float | None = None
    """When the client closed the connection before its answer had ended; None: it did not."""

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name; of a repeated one, the last."""
        return {name.decode("latin1").lower(): value.decode("latin1") for name, value in self.raw_headers}

    @property
    def is_cancelled(self) -> bool:
        """Tell whether the client left before its answer had ended."""
        return self.left_at_s is not None

    def json(self) -> Any:  # any JSON there is: the test knows what it sent
        """Decode the body; raises ``msgspec.DecodeError`` where it is not JSON or was not kept whole."""
        return msgspec.json.decode(self.body)


@dataclass(slots=True)
class Log:
    """One endpoint's memory. Counters are exact; of the requests the newest ``KEPT_REQUESTS`` are kept."""

    connections: int = 0
    open_connections: int = 0
    requests: int = 0
    """POSTs that were read whole."""
    in_flight: int = 0
    answered: int = 0
    cancelled: int = 0
    faults: dict[Fault, int] = field(default_factory=dict)
    skipped: dict[Fault, int] = field(default_factory=dict)
    """Faults that fell on requests they have no meaning for, which were answered without."""
    kept: deque[Received] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS))

    def __iter__(self) -> Iterator[Received]:
        """Iterate over the requests kept, oldest first."""
        return iter(self.kept)

    def __len__(self) -> int:
        """Return the number of requests kept."""
        return len(self.kept)

    @property
    def last(self) -> Received:
        """The newest request; raises ``IndexError`` where there was none."""
        return self.kept[-1]
