"""What a miner submits for an epoch: records of what it measured, forecasts of what it expects, and its routing signal.

These are plain values. How they become bytes, a Merkle tree and a signature is ``wire.bundle``'s business;
whether they agree with one another is ``rules.consistency``'s; what they are worth is decided by gate and scoring.

Everything here is hashed and signed, so everything here is an integer or a string. Three units are used:

* times are integer microseconds, instants are Unix time;
* *micro-logs* are millionths of the natural logarithm of a number of microseconds, ``round(1e6 * ln(us))``.
  One micro-log is a relative error of 1e-6, so rounding never matters, and a forecast of log time is an integer;
* *ppm* are parts per million: of a probability, or of traffic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from providerrank.rules.cells import Cell
from providerrank.rules.observation import Outcome

PPM = 1_000_000
"""A probability of one, or all traffic."""

MICROLOG = 1_000_000
"""Micro-logs in one unit of the natural logarithm."""

QUANTILES_PPM = (100_000, 250_000, 500_000, 750_000, 900_000, 950_000)
"""The levels a forecast gives, .1 to .95, in ppm: enough to draw a distribution, with the tail a timeout is set by."""

CHECK_PASS = "pass"
"""``Record.check`` of an answer that met its challenge."""
CHECK_NONE = "none"
"""``Record.check`` where there was no whole answer to check."""
SCHEMA_CHECKS = frozenset({"not_json", "schema", "bad_arguments"})
"""``Record.check`` of answers that break the schema their request set: these, and no others, are SCHEMA_VIOLATION. Any
other completed answer is SUCCESS, right or wrong: the endpoint did its work, and what a model knows is not ranked."""


@dataclass(frozen=True, slots=True)
class Record:
    """One measured request: a leaf of the bundle's tree. Hashes are SHA-256, 64 lower-case hex digits."""

    cell: Cell
    index: int
    """Which challenge of this cell; 0 and up. (cell, index) is unique within a bundle."""
    prompt_hash: str
    """Of the challenge's canonical request body: all of it but ``model`` and ``stream``, which the sender adds."""
    response_hash: str
    """Of the whole answer text (``wire.opening.hash_answer``); of nothing where there was none."""
    params_hash: str
    """Of the pinned parameters alone."""
    started_us: int
    """When the request was sent, Unix microseconds."""
    ttft_us: int | None
    """From there to the first content; None when none came."""
    total_us: int
    """From there to the end of the attempt, however it ended."""
    tokens_in: int | None
    """As the endpoint's usage states them; None when it does not."""
    tokens_out: int | None
    status: Outcome
    check: str
    """``pass``, ``none``, or the short code of why the checker failed it (``rules.challenges.shape.Reason``)."""

    @property
    def passed(self) -> bool:
        """Whether the answer met its challenge."""
        return self.check == CHECK_PASS


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a miner expects of one cell in the coming epoch.

    The two tuples hold one micro-log for each of ``QUANTILES_PPM``, never decreasing. ``success_ppm`` is the chance
    that a request ends as SUCCESS or SCHEMA_VIOLATION (the endpoint completed it); ``schema_ppm`` the chance that
    a completed answer passes its checker.
    """

    cell: Cell
    ttft_micrologs: tuple[int, ...]
    total_micrologs: tuple[int, ...]
    success_ppm: int
    schema_ppm: int


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint of a signal, and the share of traffic it should get."""

    endpoint_id: str
    weight_ppm: int


@dataclass(frozen=True, slots=True)
class Signal:
    """The order in which a miner would route one model's requests of one task.

    ``routes`` names each endpoint once, best first; weights never increase along it and sum to ``PPM``.
    """

    model: str
    task: str
    routes: tuple[Route, ...]


def compute_microlog(duration_us: int) -> int:
    """Micro-log of a duration of at least a microsecond (shorter ones count as one)."""
    return round(MICROLOG * math.log(max(duration_us, 1)))


def compute_duration_us(microlog: int) -> float:
    """Duration in microseconds of a micro-log."""
    return math.exp(microlog / MICROLOG)
