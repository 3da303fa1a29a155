"""The honest miner of the arena, and what a bundle is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from providerrank.rules.observation import Outcome
from providerrank.rules.records import Forecast, Record, Signal
from providerrank.sim.arena.figures import (
    SCHEMA,
    SUCCESS,
    TTFT,
    compute_figures,
    compute_promises,
    write_forecasts,
    write_signals,
)
from providerrank.sim.arena.world import Draws, Floats, World
from providerrank.sim.gate_world import EPOCH

MINUTE_US = 60_000_000
INDICES = 36
"""Challenges of a cell that a validator replays, and more than any miner measures."""
HASH = "0" * 64
LEANING = 20.0
"""Requests that the public forecast of failures is worth to an honest miner."""
NOT_SHOWN = "!"
"""Begins the hash of an answer that nobody has."""
SUBSTITUTE = "~"
"""Begins the hash of another model's answer that passes the check."""


@dataclass(slots=True)
class Bundle:
    """One hotkey's submission of an epoch."""

    hotkey: str
    records: list[Record] = field(default_factory=list)
    forecasts: list[Forecast] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    fault: str | None = None
    """What reading it finds wrong with the whole."""
    committed: int = 0
    """Order of the commitment."""


@dataclass(slots=True)
class Scene:
    """What the epoch offers to every player: the public knowledge, the challenges and last epoch's bundles."""

    world: World
    epoch: int
    start: float
    """Minutes."""
    prompts: Floats
    """Log TTFT that each challenge adds; (cells, INDICES)."""
    trailing: Floats
    verified: Floats
    """Public figures; a row per cell."""
    blended: Floats
    prompt_hashes: list[list[str]]
    revealed: dict[str, Bundle]
    weights: dict[str, float]
    """What the chain last said each hotkey is worth."""
    submitted: dict[str, Bundle] = field(default_factory=dict)
    """This epoch's, in the order of commitment: nobody may look into them but their own operator."""

    @property
    def everything(self) -> range:
        """All cells, by number."""
        return range(len(self.world.cells))

    def draw(self, rng: np.random.Generator, count: int, vantage: float | Floats = 1.0, since: float = 0.0) -> Draws:
        """Measure every cell ``count`` times between ``since`` (of the epoch) and its end."""
        at = self.start + EPOCH * rng.uniform(since, 0.97, (len(self.world.cells), count))
        return self.world.draw(at, self.prompts[:, :count], vantage=vantage)

    def write_records(self, draws: Draws, chosen: Sequence[int], mark: str = "") -> list[Record]:
        """Records of the chosen cells; ``mark`` begins the hashes of answers that are not the endpoint's."""
        world, epoch = self.world, self.epoch
        at = (draws.at * MINUTE_US).astype(np.int64).tolist()
        failed, violated = draws.failed.tolist(), draws.violated.tolist()
        ttft, total, answers = draws.ttft_us.tolist(), draws.total_us.tolist(), draws.answer.tolist()
        success, failure, violation = Outcome.SUCCESS, Outcome.FAILURE, Outcome.SCHEMA_VIOLATION
        records = []
        for c in chosen:
            cell, prompts = world.cells[c], self.prompt_hashes[c]
            for i, begun in enumerate(at[c]):
                prompt = prompts[i]
                if failed[c][i]:
                    record = Record(cell, i, prompt, HASH, HASH, begun, None, 1_000_000, None, None, failure, "none")
                else:
                    other = answers[c][i]
                    response = f"{mark}{other}@{epoch}" if other or mark else prompt
                    status, check = (violation, "schema") if violated[c][i] else (success, "pass")
                    record = Record(
                        cell, i, prompt, response, HASH, begun, ttft[c][i], total[c][i], None, None, status, check
                    )
                records.append(record)
        return records


@dataclass(slots=True)
class Honest:
    """Measures, corrects for where it stands, and says what it believes."""

    hotkey: str
    rng: np.random.Generator
    share: float = 1.0
    """Of the cells it can afford."""
    count: int = 20
    """Records of a cell."""
    vantage: float = 1.0
    since: float = 0.0
    """When in the epoch it begins to measure."""
    trust: float = 1.0
    """In its own measurements, beside what is public."""
    corrects: bool = True
    kind: str = "honest"
    hotkeys: tuple[str, ...] = ()
    offset: Floats | None = None
    _cells: list[int] = field(default_factory=list)
    _factors: Floats | None = None

    def get_hotkeys(self) -> tuple[str, ...]:
        """Whom it submits for."""
        return (self.hotkey,)

    def choose(self, scene: Scene) -> list[int]:
        """The cells it measures: always the same, as many as it can pay for."""
        if not self._cells:
            n = len(scene.world.cells)
            self._cells = sorted(self.rng.permutation(n)[: max(1, round(self.share * n))].tolist())
        return self._cells

    def measure(self, scene: Scene, since: float | None = None) -> Draws:
        """Measure from its vantage point, which differs a little from endpoint to endpoint."""
        if self._factors is None:
            spread = np.exp(self.rng.normal(0, 0.08, scene.world.endpoints))
            self._factors = (self.vantage * spread)[scene.world.owner][:, None]
        return scene.draw(self.rng, self.count, self._factors, self.since if since is None else since)

    def believe(self, scene: Scene, draws: Draws) -> Floats:
        """Form forecasts: own quantiles, less what it has learned of its vantage, mixed with the public's."""
        own = compute_figures(draws)
        self._lean(own, scene, draws)
        if self.corrects:
            seen = np.clip(own[:, TTFT].mean(axis=1) - scene.blended[:, TTFT].mean(axis=1), -1, 1)
            first = self.offset is None
            before = seen if self.offset is None else self.offset
            own[:, TTFT] -= np.median(before) if first else before[:, None]
            self.offset = 0.85 * before + 0.15 * seen if not first else np.full_like(seen, np.median(seen))
        return self.trust * own + (1 - self.trust) * scene.blended

    def _lean(self, own: Floats, scene: Scene, draws: Draws) -> None:
        """Take what is public for some requests seen: few requests say little of rare failures."""
        done = (~draws.failed).sum(axis=1)
        passed = done - draws.violated.sum(axis=1)
        own[:, SUCCESS] = (done + LEANING * scene.blended[:, SUCCESS]) / (self.count + LEANING)
        own[:, SCHEMA] = (passed + LEANING * scene.blended[:, SCHEMA]) / (done + LEANING)

    def play(self, scene: Scene) -> list[Bundle]:
        """Submit."""
        draws = self.measure(scene)
        chosen = self.choose(scene)
        return [self.submit(scene, draws, self.believe(scene, draws), chosen)]

    def submit(
        self, scene: Scene, draws: Draws, figures: Floats, chosen: Sequence[int], hotkey: str = "", mark: str = ""
    ) -> Bundle:
        """Make the bundle."""
        return Bundle(
            hotkey or self.hotkey,
            scene.write_records(draws, chosen, mark),
            write_forecasts(figures, scene.world.cells, chosen),
            write_signals(compute_promises(figures, scene.world), scene.world, chosen),
        )


def draw_honest(number: int, rng: np.random.Generator) -> Honest:
    """An honest miner of some budget, place and skill."""
    corrects = number % 4 != 3
    return Honest(
        hotkey=f"honest-{number}",
        rng=rng,
        share=float(rng.choice([0.6, 0.8, 1.0, 1.0])),
        count=int(rng.choice([20, 20, 24, 28])),
        vantage=math.exp(rng.uniform(math.log(0.7), math.log(1.3)) * (1.0 if corrects else 0.3)),
        since=float(rng.choice([0.0, 0.3, 0.5])),
        trust=float(rng.choice([0.6, 0.8, 1.0])),
        corrects=corrects,
    )
