"""Verified reputations: what gate-passing forecasts say of a cell, and how it enters the ranking.

*One validator.* Every miner whose bundle passed the gate and scored has forecast the cell. The cell's figure is, level
by level, the median of those forecasts weighted by score: a median moves only when more than half of the weight moves,
so one miner, however confident, moves nothing alone among several; and one that tripped, or scored nothing, has no
weight at all. Weighted medians of ordered quantiles are ordered.

*Several validators.* Again the median, weighted by the stake behind each: as the chain itself decides.

*Into the ranking.* A verified figure is a prior worth ``VERIFIED_REQUESTS`` requests: stronger than what is assumed of
endpoints nobody measured, weaker than what this gateway has seen itself many times. It is monotone: a figure that is
better in one part never makes an endpoint rank lower. It fades as it ages, by half every ``VERIFIED_HALF_LIFE_US``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from providerrank.rules.cells import Cell
from providerrank.rules.params import HOUR_US, PARAMS, Params
from providerrank.rules.records import MICROLOG, PPM, QUANTILES_PPM, Forecast

VERIFIED_REQUESTS: Final = 20.0
"""What a fresh verified figure is worth: as much as history is to a session."""
VERIFIED_HALF_LIFE_US: Final = 6 * HOUR_US
"""As history's: five epochs of 72 minutes."""
VERIFIED_MIN_REQUESTS: Final = 0.5
"""Worth below which a figure no longer counts as verified: it is more than a day old."""
MAX_ROOTS: Final = 64
"""Bundles named as evidence of one figure; those of greatest weight."""
_MEDIAN: Final = QUANTILES_PPM.index(500_000)
_TAIL: Final = QUANTILES_PPM.index(950_000)


@dataclass(frozen=True, slots=True)
class Backing:
    """One bundle behind a figure."""

    hotkey: str
    root: str
    """Of its Merkle tree: 64 hex digits."""
    score_ppm: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What one validator says of a cell, with its evidence."""

    cell: Cell
    validator: str
    """Its hotkey."""
    stake_rao: int
    epoch: int
    at_us: int
    """Unix microseconds at which it was found."""
    forecast: Forecast
    """The score-weighted median of the forecasts."""
    replays: int
    """Of the validator's own, on this cell in this epoch."""
    backing: tuple[Backing, ...]
    """At least one."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What is verified of a cell: the figures the ranking takes, and where they come from."""

    cell: Cell
    log_ttft: float
    """Log of ``p50^0.7 * p95^0.3`` in microseconds, what latency is judged by."""
    success: float
    """Expected share of requests that succeed, 0..1."""
    at_us: int
    """Of the newest finding."""
    findings: tuple[Finding, ...]
    """At least one, the newest of each validator, by hotkey."""

    def get_worth(self, now_us: int) -> float:
        """What it counts for, in requests."""
        return VERIFIED_REQUESTS * float(2.0 ** (-max(0, now_us - self.at_us) / VERIFIED_HALF_LIFE_US))

    @property
    def replays(self) -> int:
        """Of all validators."""
        return sum(finding.replays for finding in self.findings)

    @property
    def epoch(self) -> int:
        """Of the newest finding."""
        return max(finding.epoch for finding in self.findings)


def compute_median(values: Iterable[tuple[int, float]]) -> int:
    """The lower weighted median of (value, weight) pairs. Raises ValueError where no weight is positive."""
    ordered = sorted((value, weight) for value, weight in values if weight > 0)
    total = math.fsum(weight for _, weight in ordered)
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        if 2 * reached >= total:
            return value
    raise ValueError("a median of nothing: at least one weight must be positive")


def combine_forecasts(cell: Cell, weighted: Sequence[tuple[Forecast, float]]) -> Forecast:
    """The weighted median of forecasts of one cell, level by level; at least one weight is positive."""

    def get_levels(rows: Sequence[tuple[tuple[int, ...], float]]) -> tuple[int, ...]:
        return tuple(
            compute_median((row[level], weight) for row, weight in rows) for level in range(len(QUANTILES_PPM))
        )

    return Forecast(
        cell,
        get_levels([(forecast.ttft_micrologs, weight) for forecast, weight in weighted]),
        get_levels([(forecast.total_micrologs, weight) for forecast, weight in weighted]),
        compute_median((forecast.success_ppm, weight) for forecast, weight in weighted),
        compute_median((forecast.schema_ppm, weight) for forecast, weight in weighted),
    )


def combine_findings(findings: Iterable[Finding], params: Params = PARAMS) -> dict[Cell, Verified]:
    """What is verified of each cell: the stake-weighted median of each validator's newest finding.

    A validator without stake says nothing.
    """
    newest: dict[tuple[Cell, str], Finding] = {}
    for finding in findings:
        key = finding.cell, finding.validator
        if finding.stake_rao > 0 and (key not in newest or newest[key].epoch < finding.epoch):
            newest[key] = finding
    by_cell: dict[Cell, list[Finding]] = {}
    for _, finding in sorted(newest.items(), key=lambda item: item[0][1]):
        by_cell.setdefault(finding.cell, []).append(finding)
    return {cell: _combine(cell, found, params) for cell, found in by_cell.items()}


def _combine(cell: Cell, findings: list[Finding], params: Params) -> Verified:
    forecast = combine_forecasts(cell, [(finding.forecast, float(finding.stake_rao)) for finding in findings])
    log_ttft = (
        params.ttft_median_power * forecast.ttft_micrologs[_MEDIAN]
        + params.ttft_tail_power * forecast.ttft_micrologs[_TAIL]
    ) / MICROLOG
    # To a gateway an answer that breaks its schema is a failure like any other.
    success = forecast.success_ppm / PPM * forecast.schema_ppm / PPM
    return Verified(cell, log_ttft, success, max(finding.at_us for finding in findings), tuple(findings))
