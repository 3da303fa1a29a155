"""Forecasts as arrays: a row per cell, fourteen figures (six of log TTFT, six of log total time, success, schema).

Times are natural logs of microseconds. So a player forms all its forecasts in a few operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from providerrank.rules.cells import Cell
from providerrank.rules.params import PARAMS
from providerrank.rules.records import MICROLOG, PPM, QUANTILES_PPM, Forecast, Route, Signal
from providerrank.sim.arena.world import Draws, Flags, Floats, Ints, World

LEVELS = np.array(QUANTILES_PPM) / PPM
TTFT, TOTAL, SUCCESS, SCHEMA = slice(0, 6), slice(6, 12), 12, 13
WIDTHS = np.diff([0.0, *((LEVELS[:-1] + LEVELS[1:]) / 2), 1.0])
"""Share of requests each level stands for."""
SHARPNESS = 0.05
"""As the miner's own routing: endpoints so much apart in utility differ by a factor of e in traffic."""


def compute_figures(draws: Draws) -> Floats:
    """What was measured, said again; where nothing completed, a second and two."""
    done = (~draws.failed).sum(axis=1)
    asked = draws.failed.shape[1]
    figures = np.empty((len(done), 14))
    figures[:, TTFT] = _compute_quantiles(draws.ttft_us, draws.failed, done, 1e6)
    figures[:, TOTAL] = _compute_quantiles(draws.total_us, draws.failed, done, 2e6)
    figures[:, SUCCESS] = (done + 1) / (asked + 2)
    figures[:, SCHEMA] = (done - draws.violated.sum(axis=1) + 1) / (done + 2)
    return figures


def _compute_quantiles(times: Ints, failed: Flags, done: Ints, usual: float) -> Floats:
    logs = np.sort(np.where(failed, np.inf, np.log(np.maximum(times, 1))), axis=1)
    place = np.maximum(done - 1, 0)[:, None] * LEVELS
    low = place.astype(np.int64)
    high = np.minimum(low + 1, np.maximum(done - 1, 0)[:, None])
    below, above = np.take_along_axis(logs, low, 1), np.take_along_axis(logs, high, 1)
    known = (done > 0)[:, None]
    below, above = np.where(known, below, np.log(usual)), np.where(known, above, np.log(usual))
    quantiles: Floats = below + (above - below) * (place - low)
    return quantiles


def read_figures(forecasts: Mapping[Cell, Forecast], cells: Sequence[Cell]) -> Floats:
    """Rows of forecasts; of cells without one, not-a-number."""
    nothing = (np.nan,) * 14
    rows = []
    for cell in cells:
        f = forecasts.get(cell)
        rows.append(nothing if f is None else (*f.ttft_micrologs, *f.total_micrologs, f.success_ppm, f.schema_ppm))
    figures: Floats = np.array(rows, np.float64) / np.array([MICROLOG] * 12 + [PPM] * 2)
    return figures


def write_forecasts(figures: Floats, cells: Sequence[Cell], chosen: Sequence[int]) -> list[Forecast]:
    """Well-formed forecasts of the chosen cells: never decreasing, total never below TTFT, shares within 0 and 1."""
    ttft = np.maximum.accumulate(np.clip(figures[:, TTFT], 0, 39), axis=1)
    total = np.maximum(np.maximum.accumulate(np.clip(figures[:, TOTAL], 0, 39), axis=1), ttft)
    ttfts, totals = np.rint(ttft * MICROLOG).astype(int).tolist(), np.rint(total * MICROLOG).astype(int).tolist()
    shares = np.rint(np.clip(figures[:, SUCCESS:], 0, 1) * PPM).astype(int).tolist()
    return [Forecast(cells[c], tuple(ttfts[c]), tuple(totals[c]), *shares[c]) for c in chosen]


def compute_promises(figures: Floats, world: World) -> Floats:
    """The utility each cell promises, 0..1 (as ``rules.scoring.compute_utility`` will measure it)."""
    targets = np.array([PARAMS.get_task(task).target_ttft_us for task in world.tasks])
    soon = np.minimum(1.0, targets[:, None] / np.exp(figures[:, TTFT])) @ WIDTHS
    promises: Floats = np.nan_to_num(figures[:, SUCCESS] * figures[:, SCHEMA] * soon)
    return promises


def write_signals(promises: Floats, world: World, chosen: Sequence[int]) -> list[Signal]:
    """Route by promise among the chosen cells."""
    groups: dict[tuple[str, str], list[int]] = {}
    for c in chosen:
        groups.setdefault((world.models[world.owner[c]], world.tasks[c]), []).append(c)
    signals = []
    for (model, task), members in groups.items():
        members.sort(key=lambda c: -promises[c])
        raw = np.exp((promises[members] - promises[members[0]]) / SHARPNESS)
        weights = [int(w) for w in raw / raw.sum() * PPM]
        weights[0] += PPM - sum(weights)
        routes = tuple(Route(world.cells[c].endpoint_id, w) for c, w in zip(members, weights, strict=True))
        signals.append(Signal(model, task, routes))
    return signals
