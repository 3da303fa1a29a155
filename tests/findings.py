"""Findings to verify cells with."""

from __future__ import annotations

import math

from providerrank.rules.cells import Cell
from providerrank.rules.records import MICROLOG, PPM, Forecast
from providerrank.rules.verified import Backing, Finding

AT_US = 1_700_000_000_000_000
FACTORS = (0.8, 0.9, 1.0, 1.15, 1.3, 1.5)


def make_forecast(cell: Cell, ttft_s: float = 0.3, success: float = 0.99, schema: float = 1.0) -> Forecast:
    def get_levels(median_s: float) -> tuple[int, ...]:
        return tuple(round(MICROLOG * math.log(median_s * factor * 1e6)) for factor in FACTORS)

    return Forecast(cell, get_levels(ttft_s), get_levels(ttft_s * 4), round(PPM * success), round(PPM * schema))


def make_finding(
    cell: Cell,
    ttft_s: float = 0.3,
    success: float = 0.99,
    *,
    validator: str = "5Validator",
    stake: int = 1_000,
    epoch: int = 7,
    at_us: int = AT_US,
) -> Finding:
    forecast = make_forecast(cell, ttft_s, success)
    return Finding(cell, validator, stake, epoch, at_us, forecast, 40, (Backing("5Miner", "ab" * 32, 400_000),))
