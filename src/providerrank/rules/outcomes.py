"""What a validator measured of one cell after the commitments, counted once so that many forecasts are judged quickly.

Losses of a quantile forecast are sums of distances on either side of each quantile. With the outcomes sorted and summed
up, one costs a search and two products, whatever their number, and is exact: all of it is integers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from providerrank.rules.observation import Outcome
from providerrank.rules.records import MICROLOG, PPM, QUANTILES_PPM, compute_microlog
from providerrank.rules.replay_test import COMPLETED


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the validator's own measurements of a cell."""

    status: Outcome
    ttft_us: int | None
    total_us: int | None
    """Both None where it did not complete."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Micro-logs in ascending order, and the sum of all before each position (one longer)."""

    values: tuple[int, ...]
    sums: tuple[int, ...]

    @classmethod
    def sort(cls, values: Iterable[int]) -> Spread:
        """Sort and sum up."""
        ordered = tuple(sorted(values))
        return cls(ordered, tuple(accumulate(ordered, initial=0)))

    def compute_pinball(self, quantiles: Sequence[int]) -> float:
        """Twice the mean pinball loss of quantiles (micro-logs) at ``QUANTILES_PPM``, in log time; 0 of nothing."""
        count = len(self.values)
        if not count:
            return 0.0
        loss = 0
        for level, quantile in zip(QUANTILES_PPM, quantiles, strict=True):
            below = bisect_left(self.values, quantile)
            under = quantile * below - self.sums[below]
            over = self.sums[count] - self.sums[below] - quantile * (count - below)
            loss += over * level + under * (PPM - level)
        return 2 * loss / (len(QUANTILES_PPM) * count * PPM * MICROLOG)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The samples of one cell, counted."""

    requests: int
    completed: int
    passed: int
    """Completed without breaking the schema their request set."""
    ttft: Spread
    total: Spread

    @classmethod
    def count(cls, samples: Sequence[Sample]) -> Outcomes:
        """Count a cell's samples."""
        completed = [sample for sample in samples if sample.status in COMPLETED]
        return cls(
            requests=len(samples),
            completed=len(completed),
            passed=sum(sample.status is Outcome.SUCCESS for sample in completed),
            ttft=Spread.sort(compute_microlog(s.ttft_us) for s in completed if s.ttft_us is not None),
            total=Spread.sort(compute_microlog(s.total_us) for s in completed if s.total_us is not None),
        )


def compute_brier(probability_ppm: int, happened: int, times: int) -> float:
    """Mean Brier score of one probability over ``times`` events of which ``happened`` did; 0 of none."""
    if not times:
        return 0.0
    probability = probability_ppm / PPM
    return (happened * (1 - probability) ** 2 + (times - happened) * probability**2) / times
