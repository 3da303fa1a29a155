"""The attackers of the arena. Each says in ``why`` what stops or bounds it, and in ``bound`` what it may earn.

Attackers know the rules, all that is public, and each
other's methods where it helps them. Those that invent records are given answers that pass the checks (``SUBSTITUTE``)
unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from typing_extensions import override

from providerrank.rules.observation import Outcome
from providerrank.sim.arena.figures import SUCCESS, TTFT, compute_figures
from providerrank.sim.arena.players import HASH, NOT_SHOWN, SUBSTITUTE, Bundle, Honest, Scene
from providerrank.sim.arena.world import Draws, Floats
from providerrank.sim.gate_world import EPOCH

TWO = math.log(2.0)


@dataclass(slots=True)
class Attacker(Honest):
    """Honest until told otherwise; full budget, the validator's own vantage point, the best of timing."""

    why: ClassVar[str] = ""
    bound: ClassVar[float] = 0.02
    """What it may earn: each of its hotkeys, of an honest miner's mean; of who ``works``, all of them together, of what
    the twin earns, an honest miner that measures as much."""
    works: ClassVar[bool] = False
    """Whether it measures, truly and for the most part, so that it is to be paid something."""
    since: float = 0.5
    kind: str = "attacker"

    def invent(self, scene: Scene, count: int = 0) -> Draws:
        """Measurements from public figures, without a request: times, failures and checks as the public expects."""
        public, n = scene.blended, len(scene.world.cells)
        shape = (n, count or self.count)
        rng = self.rng
        spread = (public[:, 4] - public[:, 0]) / 2.56
        z = rng.standard_normal(shape)
        ttft = np.exp(public[:, 2][:, None] + z * np.maximum(spread, 0.02)[:, None])
        between = np.maximum(np.exp(public[:, 8]) - np.exp(public[:, 2]), 1e4)[:, None]
        total = ttft + between * np.exp(rng.normal(0, 0.15, shape))
        failed = rng.random(shape) > public[:, SUCCESS][:, None]
        return Draws(
            at=scene.start + EPOCH * rng.uniform(0.5, 0.97, shape),
            failed=failed,
            violated=~failed & (rng.random(shape) > public[:, 13][:, None]),
            ttft_us=np.rint(ttft).astype(np.int64),
            total_us=np.rint(total).astype(np.int64),
            answer=np.zeros(shape, np.int64),
        )


@dataclass(slots=True)
class Fabricator(Attacker):
    """Invents every record and can show no answer; forecasts what is public."""

    why: ClassVar[str] = "90 leaves are opened after the deadline; an answer that was never given cannot be shown"

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        return [self.submit(scene, self.invent(scene), scene.blended, scene.everything, mark=NOT_SHOWN)]


@dataclass(slots=True)
class PlausibleFabricator(Attacker):
    """Invents every record with answers of a small model of its own that pass the checks."""

    why: ClassVar[str] = (
        "deterministic endpoints give other answers than it shows; where there are none "
        "its forecasts are the public's, and gain nothing"
    )

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        return [self.submit(scene, self.invent(scene), scene.blended, scene.everything, mark=SUBSTITUTE)]


@dataclass(slots=True)
class PerfectFabricator(Attacker):
    """Shows the endpoints' true answers without asking them: the worst case.

    Its times are drawn from the true distribution; its forecasts are a model's of its own, of all that was ever public.
    """

    why: ClassVar[str] = "passes the gate; gains nothing, as the public forecast already says what it knows"
    history: Floats | None = None

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        new = (scene.trailing + scene.verified) / 2
        self.history = new if self.history is None else 0.95 * self.history + 0.05 * new
        figures = 0.3 * scene.trailing + 0.4 * scene.verified + 0.3 * self.history
        rare = figures[:, SUCCESS:] > 0.95
        figures[:, SUCCESS:] = np.where(rare, (1 + figures[:, SUCCESS:]) / 2, figures[:, SUCCESS:])
        return [self.submit(scene, self.invent(scene), figures, scene.everything)]


@dataclass(slots=True)
class FivePercent(Attacker):
    """Honest, but for one leaf in twenty that it invents and cannot show."""

    why: ClassVar[str] = "one of the 90 opened leaves is such a one with chance 0.99, and its average is forgotten"

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        (bundle,) = Honest.play(self, scene)
        for i in self.rng.permutation(len(bundle.records))[: len(bundle.records) // 20].tolist():
            if bundle.records[i].status is Outcome.SUCCESS:
                bundle.records[i] = replace(bundle.records[i], response_hash=f"{NOT_SHOWN}{i}")
        return [bundle]


@dataclass(slots=True)
class Thrifty(Attacker):
    """Measures four of twenty records of each cell, and invents the rest with answers that pass the checks."""

    why: ClassVar[str] = "four answers in five are another model's: deterministic endpoints show it"

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        true = scene.draw(self.rng, 4, 1.0, 0.7)
        false = self.invent(scene, self.count)
        bundle = self.submit(
            scene, false, 0.4 * compute_figures(true) + 0.6 * scene.blended, scene.everything, mark=SUBSTITUTE
        )
        measured = scene.write_records(true, scene.everything)
        for c in scene.everything:
            bundle.records[c * self.count : c * self.count + 4] = measured[4 * c : 4 * c + 4]
        return [bundle]


@dataclass(slots=True)
class FailureClaimer(Attacker):
    """The null inflator: invents failures, which need no answer to show, and so raises the rate it is held to."""

    why: ClassVar[str] = "cells count by their answered records, and a forecast is paid by what happens"

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        draws = self.measure(scene)
        failed = draws.failed | (self.rng.random(draws.failed.shape) < 0.8)
        claimed = replace(draws, failed=failed, violated=draws.violated & ~failed)
        return [self.submit(scene, claimed, scene.blended, scene.everything)]


@dataclass(slots=True)
class Understater(Attacker):
    """Halves every time, in records and forecasts."""

    factor: float = 0.5
    why: ClassVar[str] = "the validator's two measurements exceed twice the claim far more often than honesty allows"

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        draws = self.measure(scene)
        said = replace(
            draws,
            ttft_us=np.rint(draws.ttft_us * self.factor).astype(np.int64),
            total_us=np.rint(draws.total_us * self.factor).astype(np.int64),
        )
        return [self.submit(scene, said, compute_figures(said), scene.everything)]


@dataclass(slots=True)
class Overstater(Understater):
    """Doubles every time."""

    factor: float = 2.0
    why: ClassVar[str] = "no gate minds pessimism; its forecasts are twice off, and lose against the public's"


@dataclass(slots=True)
class EndpointOwner(Attacker):
    """Measures truly, and forecasts its own provider's endpoints twice as fast and never failing."""

    bound: ClassVar[float] = 1.0
    works: ClassVar[bool] = True
    why: ClassVar[str] = (
        "bounded: losses are summed over cells: a lie on its own costs more than the truth on the others brings; "
        "the verified figure is a weighted median, which one miner does not move"
    )

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        draws = self.measure(scene)
        figures = self.believe(scene, draws)
        own = np.array([cell.endpoint_id.startswith("p0/") for cell in scene.world.cells])
        figures[own, :12] -= TWO
        figures[own, SUCCESS:] = 1.0
        return [self.submit(scene, draws, figures, scene.everything)]


@dataclass(slots=True)
class RevealedCopycat(Attacker):
    """Submits the best miner's bundle of the last epoch, with this epoch's prompts and times."""

    why: ClassVar[str] = "it has none of the answers but the opened ones, and those answer other prompts"

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        honest = {h: b for h, b in scene.revealed.items() if h.startswith("honest") and b.records}
        if not honest:
            return [Bundle(self.hotkey)]
        best = honest[max(honest, key=lambda h: scene.weights.get(h, 0.0))]
        number = {cell: c for c, cell in enumerate(scene.world.cells)}
        records = [
            replace(
                record,
                prompt_hash=scene.prompt_hashes[number[record.cell]][record.index],
                response_hash=HASH if record.response_hash == HASH else f"{NOT_SHOWN}{record.response_hash}",
                started_us=record.started_us + round(EPOCH * 60e6),
            )
            for record in best.records
        ]
        return [Bundle(self.hotkey, records, best.forecasts, best.signals)]


@dataclass(slots=True)
class CommittedCopycat(Attacker):
    """Commits to the hash another hotkey has just committed to, and shows its bundle when that is revealed."""

    why: ClassVar[str] = "the bundle names and is signed by another hotkey"

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        victim = next((b for h, b in scene.submitted.items() if h.startswith("honest")), None)
        if victim is None:
            return [Bundle(self.hotkey)]
        return [replace(victim, hotkey=self.hotkey, fault="its header names another hotkey")]


@dataclass(slots=True)
class Restamper(Attacker):
    """Measures once, and then submits that with new times, a little jittered, admitting that the answers are wrong."""

    why: ClassVar[str] = "old answers are not the answers to new prompts; old forecasts know less than the public"
    kept: Draws | None = None
    first: int = 0

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        if self.kept is None:
            self.kept = self.measure(replace(scene, start=scene.start - EPOCH))
            self.first = scene.epoch - 1
        age = scene.epoch - self.first
        jitter = self.rng.integers(0, 2_000, self.kept.at.shape) * (self.kept.ttft_us > 0)
        draws = replace(
            self.kept,
            at=self.kept.at + age * EPOCH,
            ttft_us=self.kept.ttft_us + jitter,
            total_us=self.kept.total_us + jitter,
        )
        bundle = self.submit(scene, draws, compute_figures(self.kept), scene.everything)
        bundle.records = [
            replace(r, response_hash=f"old-{r.index}@{self.first}", check="wrong") if r.status is Outcome.SUCCESS else r
            for r in bundle.records
        ]
        return [bundle]


@dataclass(slots=True)
class CherryPicker(Attacker):
    """Measures a tenth of the cells: those where the public forecast was most off last epoch, so that news is cheap."""

    why: ClassVar[str] = "coverage below a quarter of demand earns nothing"
    part: float = 0.1

    def pick(self, scene: Scene) -> Sequence[int]:
        """The cells it likes."""
        news = np.abs(scene.trailing[:, TTFT].mean(axis=1) - scene.verified[:, TTFT].mean(axis=1))
        return sorted(np.argsort(-news)[: round(self.part * len(news))].tolist())

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        draws = self.measure(scene)
        return [self.submit(scene, draws, self.believe(scene, draws), self.pick(scene))]


@dataclass(slots=True)
class WiderPicker(CherryPicker):
    """Picks as many cells as the coverage rule asks for: 30 %. Honest work, less of it."""

    why: ClassVar[str] = "not an attack to be stopped: coverage counts twice, so it earns less than its work's share"
    part: float = 0.3
    bound: ClassVar[float] = 0.5
    works: ClassVar[bool] = True


@dataclass(slots=True)
class Hedger(Attacker):
    """Measures nothing; shifts the public forecast of all cells one way or the other, to win now and then."""

    why: ClassVar[str] = "an epoch that is lost counts against one that is won: the average of a gamble is negative"

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        figures = scene.blended.copy()
        figures[:, :12] += self.rng.choice([-0.1, 0.1])
        return [self.submit(scene, self.invent(scene), figures, scene.everything)]


@dataclass(slots=True)
class Gambler(Hedger):
    """The same per cell: each shifted at random."""

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        figures = scene.blended.copy()
        figures[:, :12] += self.rng.choice([-0.1, 0.0, 0.1], len(figures))[:, None]
        return [self.submit(scene, self.invent(scene), figures, scene.everything)]


@dataclass(slots=True)
class Discloser(Attacker):
    """Measures every challenge until it succeeds, discloses no failure, and forecasts as if there were none."""

    bound: ClassVar[float] = 1.5
    works: ClassVar[bool] = True
    why: ClassVar[str] = (
        "partly stopped: failures hidden by retrying show where there are ten points of them; for fewer it is paid as "
        "the measurer it is otherwise"
    )

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        draws, again = self.measure(scene), self.measure(scene)
        bad = draws.failed | draws.violated
        told = Draws(
            at=draws.at,
            failed=draws.failed & again.failed,
            violated=np.where(bad, again.violated, False),
            ttft_us=np.where(bad, again.ttft_us, draws.ttft_us),
            total_us=np.where(bad, again.total_us, draws.total_us),
            answer=np.where(bad, again.answer, draws.answer),
        )
        figures = self.believe(scene, told)
        figures[:, SUCCESS:] = 1.0
        return [self.submit(scene, told, figures, scene.everything)]


@dataclass(slots=True)
class SybilCopies(Attacker):
    """One miner's measurements behind four hotkeys, each with a little noise over them."""

    why: ClassVar[str] = "residuals that agree beyond chance: the four share one allocation, the earliest's"
    bound: ClassVar[float] = 1.5
    works: ClassVar[bool] = True
    many: int = 4

    @override
    def get_hotkeys(self) -> tuple[str, ...]:
        return tuple(f"{self.hotkey}-{i}" for i in range(self.many))

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        draws = self.measure(scene)
        figures = self.believe(scene, draws)
        bundles = []
        for hotkey in self.get_hotkeys():
            noise = np.exp(self.rng.normal(0, 0.03, draws.at.shape))
            told = replace(
                draws,
                ttft_us=np.rint(draws.ttft_us * noise).astype(np.int64),
                total_us=np.rint(draws.total_us * noise).astype(np.int64),
            )
            bundles.append(self.submit(scene, told, figures, scene.everything, hotkey))
        return bundles


@dataclass(slots=True)
class SybilSplitter(SybilCopies):
    """One miner's cells dealt out to three hotkeys, a third each."""

    why: ClassVar[str] = "coverage counts twice: three thirds earn about a third of one whole together"
    bound: ClassVar[float] = 1.0
    many: int = 3

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        draws = self.measure(scene)
        figures = self.believe(scene, draws)
        return [
            self.submit(scene, draws, figures, scene.everything[i :: self.many], hotkey)
            for i, hotkey in enumerate(self.get_hotkeys())
        ]


@dataclass(slots=True)
class Colluder(Attacker):
    """Mines honestly; the owner of the world's partial endpoints, which serve what they take for a probe better."""

    why: ClassVar[str] = (
        "the market sees what probes see: bounded by how many probes are spotted, and by what buyers' own traffic shows"
    )
    bound: ClassVar[float] = 1.5
    works: ClassVar[bool] = True
    since: float = 0.5


@dataclass(slots=True)
class IdleMiner(Attacker):
    """The dishonest validator's own miner: submits an empty bundle and is paid by its friend."""

    why: ClassVar[str] = "30 % of stake is no majority: Yuma clips the weight to the others' zero, with the bonds"

    @override
    def play(self, scene: Scene) -> list[Bundle]:
        return [Bundle(self.hotkey)]


ATTACKERS: tuple[tuple[str, type[Attacker]], ...] = (
    ("fabricator", Fabricator),
    ("fabricator-plausible", PlausibleFabricator),
    ("fabricator-perfect", PerfectFabricator),
    ("fabricator-5-percent", FivePercent),
    ("fabricator-4-of-5", Thrifty),
    ("null-inflator", FailureClaimer),
    ("understater", Understater),
    ("overstater", Overstater),
    ("endpoint-owner", EndpointOwner),
    ("copycat-revealed", RevealedCopycat),
    ("copycat-committed", CommittedCopycat),
    ("re-stamper", Restamper),
    ("cherry-picker", CherryPicker),
    ("cherry-picker-wide", WiderPicker),
    ("forecast-hedger", Hedger),
    ("forecast-gambler", Gambler),
    ("selective-discloser", Discloser),
    ("sybil-copies", SybilCopies),
    ("sybil-splitter", SybilSplitter),
    ("colluder", Colluder),
    ("dishonest-validator", IdleMiner),
)
"""By the name it goes by."""
