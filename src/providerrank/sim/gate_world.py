"""Endpoints, an honest validator and miners of all kinds, as far as the gate sees them: for measuring its error rates.

Figures are fitted to `shared data` folders: noise of one endpoint's log TTFT (standard deviations of the endpoints in
llmperf_leaderboard, whose own residuals are used where given), failure rates (openrouter_uptime: one minus the mean
share served, at quantiles over endpoints), slow and failing spells (the same, and deepseek_2025_outage: minutes to
hours), region differences (thefastest_ai: nearest to farthest, a factor of 1.0 to 4; 1.3 either way here, as the
issue asks). Time is in minutes. One object of `World` holds days of one set of providers; a bundle is drawn from an
epoch of it.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from providerrank.rules.cells import Cell
from providerrank.rules.gate import plan_replays
from providerrank.rules.market_params import MARKET, MarketParams
from providerrank.rules.nulls import Nulls, Timing
from providerrank.rules.observation import Outcome
from providerrank.rules.records import Record
from providerrank.rules.replay_test import Claimed, Decision, Measured, Replay, ReplayTest, Test

EPOCH = 72.0
"""Minutes of one tempo."""
NOISE_SD = (0.14, 0.15, 0.19, 0.19, 0.19, 0.2, 0.22, 0.23, 0.24, 0.25, 0.35, 0.64, 0.78, 1.05)
FAILURE = (0.001, 0.002, 0.002, 0.005, 0.005, 0.01, 0.017, 0.017, 0.04, 0.07, 0.125)
VIOLATION = (0.0, 0.0, 0.005, 0.02, 0.05)
DIFFERENCE = (0.0, 0.0, 0.01, 0.03, 0.6)
"""How often an endpoint answers one challenge differently at temperature 0; the last is not deterministic at all."""
SLOW_EVERY, SLOW_LASTS = (6_000.0, 600.0, 600.0, 200.0), 45.0
OUT_EVERY, OUT_LASTS = (35_000.0, 3_500.0, 3_500.0, 1_200.0, 450.0), 35.0
"""Minutes between an endpoint's spells (drawn per endpoint) and their mean length: out 0.1 to 7 % of the time."""
_HASHES = [f"{i:064x}" for i in range(4)]


def draw_spells(rng: random.Random, every: float, lasts: float, low: float, high: float, end: float) -> list[float]:
    """Spells as a flat list: start, end, severity, and so on."""
    spells: list[float] = []
    at = 0.0
    while True:
        at += rng.expovariate(1 / every)
        if at >= end:
            return spells
        length = rng.expovariate(1 / lasts)
        spells += [at, at + length, rng.uniform(low, high)]
        at += length


@dataclass(slots=True)
class Provider:
    """One endpoint: its level, noise and spells."""

    name: str
    level: float
    noise: Sequence[float] | float
    failure: float
    violation: float
    difference: float
    slow: list[float] = field(default_factory=list)
    out: list[float] = field(default_factory=list)

    def get_severity(self, spells: list[float], at: float) -> float:
        """Severity of the spell at a time; 0 when there is none."""
        i = bisect_right(spells[::3], at) - 1
        return spells[3 * i + 2] if i >= 0 and at < spells[3 * i + 1] else 0.0

    def is_failed(self, rng: random.Random, at: float, extra: float = 0.0) -> bool:
        """Whether a request at a time fails."""
        return rng.random() < max(self.failure + extra, self.get_severity(self.out, at))

    def draw_timing(self, rng: random.Random, at: float, factor: float = 1.0) -> Timing:
        """The times of a completed request, seen from a vantage point ``factor`` as far in time to first token."""
        noise = rng.gauss(0, self.noise) if isinstance(self.noise, float) else rng.choice(self.noise)
        slow = self.get_severity(self.slow, at)
        ttft = math.exp(self.level + noise + slow) * factor
        total = ttft + 1.5 * math.exp(rng.gauss(0, 0.15) + slow)
        return Timing(max(1, round(ttft * 1e6)), max(1, round(total * 1e6)))


@dataclass(frozen=True, slots=True)
class Miner:
    """How a miner differs from the validator, or from honesty."""

    vantage: float = 1.0
    """Its time to first token over the validator's."""
    understates: float = 1.0
    """By what it divides its times."""
    hides: float = 0.0
    """Share of all requests that fail and that it does not report."""
    hides_violations: float = 0.0
    invents: float = 0.0
    """Share of its records whose answer never came from the endpoint."""
    records: int = 25
    """Per endpoint."""


class World:
    """Some providers over some days, and a validator's calibration on the first half of them."""

    def __init__(
        self,
        seed: int,
        providers: int = 20,
        days: float = 4.0,
        residuals: Sequence[Sequence[float]] = (),
        params: MarketParams = MARKET,
    ) -> None:
        self.params = params
        self.rng = rng = random.Random(seed)
        self.minutes = days * 1_440
        self.providers = [
            Provider(
                name=f"p{i}",
                level=math.log(rng.uniform(0.2, 1.2)),
                noise=rng.choice(residuals) if residuals else rng.choice(NOISE_SD),
                failure=rng.choice(FAILURE),
                violation=rng.choice(VIOLATION),
                difference=rng.choice(DIFFERENCE),
                slow=draw_spells(rng, rng.choice(SLOW_EVERY), SLOW_LASTS, 0.4, 1.4, self.minutes),
                out=draw_spells(rng, rng.choice(OUT_EVERY), OUT_LASTS, 0.3, 1.0, self.minutes),
            )
            for i in range(providers)
        ]
        self.nulls = Nulls(params)
        for provider in self.providers:
            self._calibrate(provider)

    def _calibrate(self, provider: Provider) -> None:
        rng = self.rng
        for _ in range(40):
            start = rng.uniform(0, self.minutes / 2)
            times = self._draw_times(start)
            before, between, after = (provider.draw_timing(rng, at) for at in times)
            self.nulls.add_timings(f"{provider.name}/m", before, between, after)
            self.nulls.add_answers(f"{provider.name}/m", differ=rng.random() < provider.difference)

    def _draw_times(self, start: float) -> tuple[float, float, float]:
        """When reference, claim and replay of one challenge happen."""
        rng = self.rng
        return start + rng.uniform(-20, EPOCH), start + rng.uniform(0, EPOCH), start + rng.uniform(EPOCH, EPOCH + 20)

    def judge(self, miner: Miner, carried: dict[Test, float] | None = None) -> tuple[Decision, ReplayTest]:
        """One bundle of a miner in a random later epoch, replayed in the planned order until there is a verdict."""
        rng = self.rng
        start = rng.uniform(self.minutes / 2, self.minutes - 2 * EPOCH)
        records = [
            self._draw_claim(provider, miner, start) for provider in self.providers for _ in range(miner.records)
        ]
        claimed = Claimed.count(records)
        test = ReplayTest(claimed, self.nulls, carried, self.params)
        for i in plan_replays(records, rng.randbytes(8), self.params, claimed):
            decision = test.add(self._replay(self.providers[i // miner.records], miner, records[i], start))
            if decision is not Decision.MORE:
                return decision, test
        return Decision.PASS, test

    def _draw_claim(self, provider: Provider, miner: Miner, start: float) -> Record:
        rng = self.rng
        at = start + rng.uniform(0, EPOCH)
        status = Outcome.SUCCESS
        if provider.is_failed(rng, at):
            status = Outcome.FAILURE
        elif rng.random() < provider.violation:
            status = Outcome.SCHEMA_VIOLATION
        timing = provider.draw_timing(rng, at, miner.vantage)
        ttft_us = round(timing.ttft_us / miner.understates)
        total_us = round(timing.total_us / miner.understates)
        invented = rng.random() < miner.invents
        check = {Outcome.SUCCESS: "pass", Outcome.SCHEMA_VIOLATION: "wrong"}.get(status, "none")
        return Record(
            Cell(f"{provider.name}/m", "chat"), 0, _HASHES[0], _HASHES[2] if invented else _HASHES[0], _HASHES[0],
            round(at * 60e6), ttft_us if status is not Outcome.FAILURE else None, total_us, None, None, status, check,
        )  # fmt: skip

    def _replay(self, provider: Provider, miner: Miner, claim: Record, start: float) -> Replay:
        before, _, after = self._draw_times(start)
        return Replay(claim, self._measure(provider, miner, after), self._measure(provider, miner, before))

    def _measure(self, provider: Provider, miner: Miner, at: float) -> Measured:
        rng = self.rng
        answer = _HASHES[1] if rng.random() < provider.difference else _HASHES[0]
        if provider.is_failed(rng, at, miner.hides):
            return Measured(Outcome.FAILURE, None, answer)
        violated = rng.random() < provider.violation + miner.hides_violations
        status = Outcome.SCHEMA_VIOLATION if violated else Outcome.SUCCESS
        return Measured(status, provider.draw_timing(rng, at), answer)
