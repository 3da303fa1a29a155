"""From one's own measurements to a forecast and a routing signal.

A forecast repeats what was, the newer the more: each measurement weighs ``2^(-age / half-life)``, and the quantiles
are those of the weighted sample. That is the honest default; a miner with a better model replaces it, and is paid for
the difference. Success and schema shares lean on what endpoints are usually like while there are few measurements.

The signal follows the utility that a forecast promises (as `scoring.compute_utility` will measure it): traffic goes to
endpoints in proportion to ``exp(utility / SHARPNESS)``. All of it on the best would gain most where one is sure;
endpoints that are nearly as good share, which costs nearly nothing and loses less when the order turns out otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from providerrank.rules.cells import Cell
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS, Params
from providerrank.rules.records import (
    PPM,
    QUANTILES_PPM,
    Forecast,
    Route,
    Signal,
    compute_duration_us,
    compute_microlog,
)
from providerrank.rules.replay_test import COMPLETED

PRIOR_REQUESTS: Final = 2.0
"""Weight of what is usual beside one's own measurements."""
PRIOR_SCHEMA: Final = 0.98
SHARPNESS: Final = 0.05
"""Of utility: endpoints this much apart differ by a factor of e in traffic."""
MEDIAN_AT: Final = QUANTILES_PPM.index(500_000)
TAIL_AT: Final = QUANTILES_PPM.index(950_000)


@dataclass(frozen=True, slots=True)
class Seen:
    """One of one's own measurements; times in microseconds, both None where it did not complete."""

    at_us: int
    status: Outcome
    ttft_us: int | None
    total_us: int | None


def compute_forecast(
    cell: Cell, seen: Iterable[Seen], now_us: int, half_life_us: int, params: Params = PARAMS
) -> Forecast | None:
    """The forecast for a cell; None where none of its measurements completed, and nothing can be said of its times."""
    ttfts: list[tuple[int, float]] = []
    totals: list[tuple[int, float]] = []
    asked = completed = passed = 0.0
    for one in seen:
        weight = float(2.0 ** (-max(0, now_us - one.at_us) / half_life_us))
        asked += weight
        if one.status not in COMPLETED or one.ttft_us is None or one.total_us is None:
            continue
        completed += weight
        passed += weight * (one.status is Outcome.SUCCESS)
        ttfts.append((compute_microlog(one.ttft_us), weight))
        totals.append((compute_microlog(max(one.total_us, one.ttft_us)), weight))
    if not ttfts:
        return None
    return Forecast(
        cell,
        compute_quantiles(ttfts),
        compute_quantiles(totals),
        round(PPM * (completed + PRIOR_REQUESTS * params.prior_success) / (asked + PRIOR_REQUESTS)),
        round(PPM * (passed + PRIOR_REQUESTS * PRIOR_SCHEMA) / (completed + PRIOR_REQUESTS)),
    )


def compute_quantiles(values: Sequence[tuple[int, float]]) -> tuple[int, ...]:
    """Quantiles at ``QUANTILES_PPM`` of at least one (value, weight) pair; never decreasing."""
    ordered = sorted(values)
    total = sum(weight for _, weight in ordered)
    found: list[int] = []
    at, reached = 0, ordered[0][1]
    for level in QUANTILES_PPM:
        while reached < level * total / PPM and at + 1 < len(ordered):
            at += 1
            reached += ordered[at][1]
        found.append(ordered[at][0])
    return tuple(found)


def compute_spread(seen: Iterable[Seen]) -> float | None:
    """Standard deviation of log TTFT over at least two completed measurements; None for fewer."""
    logs = [math.log(max(one.ttft_us, 1)) for one in seen if one.ttft_us is not None]
    if len(logs) < 2:
        return None
    mean = sum(logs) / len(logs)
    return math.sqrt(sum((log - mean) ** 2 for log in logs) / (len(logs) - 1))


def compute_promise(forecast: Forecast, params: Params = PARAMS) -> float:
    """The utility, 0..1, that a forecast promises: the share that complete and pass, by how soon they begin."""
    target_us = params.get_task(forecast.cell.task).target_ttft_us
    # A request of any of the six quantiles, in proportion to the levels between them.
    bounds = (0, *((low + high) // 2 for low, high in pairwise(QUANTILES_PPM)), PPM)
    soon = sum(
        (high - low) / PPM * min(1.0, target_us / compute_duration_us(quantile))
        for quantile, low, high in zip(forecast.ttft_micrologs, bounds, bounds[1:], strict=False)
    )
    return forecast.success_ppm / PPM * forecast.schema_ppm / PPM * soon


def compute_signal(model: str, task: str, promises: Mapping[str, float]) -> Signal:
    """The signal over at least one endpoint, by what each promises."""
    best = max(promises.values())
    shares = {name: math.exp((promise - best) / SHARPNESS) for name, promise in promises.items()}
    total = sum(shares.values())
    ordered = sorted(shares, key=lambda name: (-shares[name], name))
    weights = [int(PPM * shares[name] / total) for name in ordered]
    weights[0] += PPM - sum(weights)
    return Signal(model, task, tuple(Route(name, weight) for name, weight in zip(ordered, weights, strict=True)))
