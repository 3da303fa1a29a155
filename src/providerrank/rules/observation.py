"""One measured request on one cell, and what its outcome says of the endpoint.

The gateway makes an observation of every attempt it ends; the market makes them of probes and
replays. Nothing else feeds a window, so what counts as a failure is decided here, once.

``Observation`` is a ``msgspec.Struct`` where the other rules use dataclasses: the gateway makes one for every
attempt, and a frozen dataclass of nine fields takes eighteen times as long to make.
"""

from __future__ import annotations

import enum

import msgspec


class Outcome(enum.IntEnum):
    """How an attempt ended, as evidence about the endpoint. Stored: numbers never change meaning."""

    SUCCESS = 0
    FAILURE = 1
    """Accepted and not completed well-formed: timeout, reset, 5xx, malformed or truncated body, error event."""
    RATE_LIMITED = 2
    """429: unavailability, with a smaller weight."""
    REFUSED_US = 3
    """401, 402, 403, 404: a key, a balance or a name is wrong. Out for us at once; says nothing of its quality."""
    SCHEMA_VIOLATION = 4
    """Completed, but the content breaks the schema the request asked for."""
    NOBODYS = 5
    """The client left, its own request was wrong, or another attempt was faster: neither success nor failure."""


class Observation(msgspec.Struct, frozen=True, gc=False):
    """One attempt on one cell.

    Times are integer microseconds; ``at_us`` is Unix time. ``ttft_us`` is None when no content came;
    ``total_us`` runs from the attempt's start to its end. Token counts are None where unknown. ``silent_us`` is of an
    attempt that was dropped because another was faster: it had shown nothing for so long, and its TTFT is longer.
    """

    endpoint_id: str
    task: str
    at_us: int
    outcome: Outcome
    ttft_us: int | None = None
    total_us: int | None = None
    input_tokens: int | None = None
    output_tokens_counted: int | None = None
    output_tokens_billed: int | None = None
    silent_us: int | None = None
