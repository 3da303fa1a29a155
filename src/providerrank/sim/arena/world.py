"""The endpoints of the arena: some providers over some epochs, and what a request to them at any minute is like.

Fitted to figures of the data folders, each named where it is used; time is in minutes, durations in microseconds.
What matters most for who earns what is how much of an endpoint's behaviour is news. In deepseek_2025_outage the median
log TTFT of one 72-minute stretch differs from the next one's by 0.18 (standard deviation) where requests within one
stretch differ by 0.24; in openrouter_uptime the share served has an autocorrelation of about 0.5 from one poll to the
next. So levels here wander, with a memory of some hours, and slow and failing spells last most of an hour.

Everything is an array over cells (endpoint x task, endpoints outermost), so that an epoch of measurements of one party
is a handful of array operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from providerrank.rules.cells import TASKS, Cell
from providerrank.sim.gate_world import DIFFERENCE, EPOCH, FAILURE, NOISE_SD, VIOLATION

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

STEP = 4.0
"""Minutes between two points of a path."""
WANDER_SD = (0.05, 0.1, 0.13, 0.2, 0.3)
"""Of an endpoint's level about its mean: deepseek_2025_outage has 0.14 between stretches."""
WANDER_HALF_LIFE = (60.0, 120.0, 240.0, 480.0)
SLOW_EVERY, SLOW_LASTS = (6_000.0, 600.0, 600.0, 200.0), 45.0
OUT_EVERY, OUT_LASTS = (35_000.0, 3_500.0, 3_500.0, 1_200.0, 450.0), 35.0
"""As in `sim.gate_world`."""
PROMPT_SD = 0.1
"""Of log TTFT between two challenges of one cell: what the prompt does to everyone alike."""
ENDPOINTS_PER_MODEL = 5
GENERATION_S = 1.5
TASK_TTFT = {"chat": 1.0, "code": 1.1, "json": 1.1, "tools": 1.2, "long-context": 3.0}
PROBED_TTFT, PROBED_FAILURE = 0.5, 0.0
"""What a request that a partial endpoint takes for a probe gets: half the time to first token, and no failures."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Measurements: arrays of one shape, cells first. Times are 0 where a request failed."""

    at: Floats
    """Minutes."""
    failed: Flags
    violated: Flags
    ttft_us: Ints
    total_us: Ints
    answer: Ints
    """0 for the endpoint's usual answer to this challenge; others are other answers."""


class World:
    """Endpoints and their paths over ``epochs`` epochs and one more, in which the last one's replays are made."""

    def __init__(
        self, cells: int, epochs: int, rng: np.random.Generator, *, partial: int = 0, spotted: float = 0.5
    ) -> None:
        """The last ``partial`` endpoints serve what they take for a probe better: a share ``spotted`` of probes."""
        tasks = TASKS[: max(1, min(len(TASKS), cells))]
        self.endpoints = math.ceil(cells / len(tasks))
        providers = max(1, self.endpoints // 2)
        models = max(1, self.endpoints // ENDPOINTS_PER_MODEL)
        self.models = [f"m{i % models}" for i in range(self.endpoints)]
        self.endpoint_ids = [f"p{i % providers}/{self.models[i]}" for i in range(self.endpoints)]
        if len(set(self.endpoint_ids)) != self.endpoints:
            self.endpoint_ids = [f"{name}@r{i}" for i, name in enumerate(self.endpoint_ids)]
        self.cells = [Cell(name, task) for name in self.endpoint_ids for task in tasks][:cells]
        self.owner = np.array([i // len(tasks) for i in range(cells)])
        """Endpoint of each cell."""
        self.tasks = [cell.task for cell in self.cells]
        n, points = self.endpoints, int((epochs + 2) * EPOCH / STEP) + 1
        self.rng = rng
        self.noise = rng.choice(NOISE_SD, n)
        self.failure = rng.choice(FAILURE, n)
        self.violation = rng.choice(VIOLATION, n)
        self.difference = rng.choice(DIFFERENCE, n)
        self.partial = np.arange(n) >= n - partial
        self.spotted = spotted
        level = np.log(rng.uniform(0.2, 1.2, n))
        self.level = (
            level[:, None] + self._wander(n, points) + self._spells(n, points, SLOW_EVERY, SLOW_LASTS, 0.4, 1.4)
        )
        self.out = self._spells(n, points, OUT_EVERY, OUT_LASTS, 0.3, 1.0)
        self.task_level = np.log([TASK_TTFT.get(task, 1.0) for task in self.tasks])
        self.demand = rng.lognormal(0.0, 0.5, cells)
        """Requests gateways make of each cell, in any unit."""

    def _wander(self, n: int, points: int) -> Floats:
        """Mean-reverting paths (Ornstein-Uhlenbeck)."""
        sd = self.rng.choice(WANDER_SD, n)
        kept = 0.5 ** (STEP / self.rng.choice(WANDER_HALF_LIFE, n))
        paths = np.empty((n, points))
        paths[:, 0] = self.rng.normal(0, sd)
        for i in range(1, points):
            paths[:, i] = kept * paths[:, i - 1] + self.rng.normal(0, sd * np.sqrt(1 - kept**2))
        return paths

    def _spells(self, n: int, points: int, every: tuple[float, ...], lasts: float, low: float, high: float) -> Floats:
        """Severity at each point: 0 outside spells."""
        paths = np.zeros((n, points))
        for i in range(n):
            gap, at = float(self.rng.choice(every)), 0.0
            while True:
                at += self.rng.exponential(gap)
                if at >= points * STEP:
                    break
                length = self.rng.exponential(lasts)
                paths[i, int(at / STEP) : math.ceil((at + length) / STEP)] = self.rng.uniform(low, high)
                at += length
        return paths

    def get_state(self, at: Floats) -> tuple[Floats, Floats]:
        """Log level (seconds) and failure rate per cell at times of shape (cells, ...), as real traffic has them."""
        point = (at / STEP).astype(np.int64)
        owner = self.owner.reshape((-1,) + (1,) * (at.ndim - 1))
        level = self.level[owner, point] + self.task_level.reshape(owner.shape)
        return level, np.maximum(self.failure[owner], self.out[owner, point])

    def draw(self, at: Floats, prompts: Floats, *, vantage: float | Floats = 1.0, is_probe: bool = True) -> Draws:
        """Measure: ``at`` and ``prompts`` (log TTFT each challenge adds) have shape (cells, count)."""
        rng, owner = self.rng, self.owner[:, None]
        level, failing = self.get_state(at)
        if is_probe and self.partial.any():
            spotted = self.partial[owner] & (rng.random(at.shape) < self.spotted)
            level = level + np.where(spotted, math.log(PROBED_TTFT), 0.0)
            failing = np.where(spotted, PROBED_FAILURE, failing)
        noise = rng.standard_normal(at.shape) * self.noise[owner]
        ttft = np.exp(level + prompts + noise) * vantage
        slow = self.level[owner, (at / STEP).astype(np.int64)] - self.level[owner, 0]
        total = ttft + GENERATION_S * np.exp(rng.normal(0, 0.15, at.shape) + np.clip(slow, 0, None) / 2)
        failed = rng.random(at.shape) < failing
        differs = rng.random(at.shape) < self.difference[owner]
        answer = np.where(differs, rng.integers(1, 1 << 40, at.shape), 0)
        return Draws(
            at=at,
            failed=failed,
            violated=~failed & (rng.random(at.shape) < self.violation[owner]),
            ttft_us=np.where(failed, 0, np.maximum(1, np.rint(ttft * 1e6))).astype(np.int64),
            total_us=np.where(failed, 0, np.maximum(1, np.rint(total * 1e6))).astype(np.int64),
            answer=answer,
        )
