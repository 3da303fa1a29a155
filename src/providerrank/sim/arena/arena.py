"""The arena: epochs of play, judging, consensus and routing, and who got what."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from providerrank.rules import public, yuma
from providerrank.rules.cells import Cell
from providerrank.rules.records import Forecast
from providerrank.rules.scoring import Fingerprint
from providerrank.rules.verified import combine_forecasts
from providerrank.sim.arena.attackers import ATTACKERS, Colluder, IdleMiner
from providerrank.sim.arena.figures import compute_promises, read_figures
from providerrank.sim.arena.players import INDICES, Bundle, Honest, Scene, draw_honest
from providerrank.sim.arena.routing import Routing, compute_regret, compute_truth, count_swaps
from providerrank.sim.arena.validator import Docket, Finding, Validator, get_fingerprints
from providerrank.sim.arena.world import PROMPT_SD, Floats, World
from providerrank.sim.gate_world import EPOCH

OWNER_UID = 0
HONEST_STAKE, LAZY_STAKE, DISHONEST_STAKE = 60, 10, 30
"""Of all stake; the honest validators share theirs."""
EMISSION = 10**9
TWIN = "honest-twin"
LOOKED_AT_EVERY = 5
"""Epochs between two measurements of what the ranking is worth."""


@dataclass(slots=True)
class Tally:
    """What became of one kind of player."""

    kind: str
    hotkeys: tuple[str, ...]
    why: str
    bound: float
    works: bool
    """As ``Attacker`` has them."""
    earned: float = 0.0
    """Incentive, summed over epochs and its hotkeys."""
    caught: int | None = None
    """Epochs until first tripped, or found to be a duplicate; None: never."""
    stopped: int = 0
    """Bundles stopped."""
    swaps: list[float] = field(default_factory=list)
    regret: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """Of a whole run."""

    epochs: int
    tallies: list[Tally]
    honest_mean: float
    """Incentive an honest miner has per epoch, of all."""
    twin: float
    """What the honest miner has that measures all cells, as late and from as near as attackers do."""
    honest_least: float
    honest_trips: int
    honest_bundles: int
    replays: float
    """Mean per bundle and validator."""
    burned: float
    standby: float
    """Share of epochs in which those who watched were paid, as nobody had news yet."""
    regret: float
    """Utility, 0..1, that routing by the verified ranking misses of the best endpoint's."""
    regret_uniform: float
    lazy_dividends: float
    """Of the copying validator per stake, over an honest one's."""
    dishonest_dividends: float

    def get_relative(self, tally: Tally) -> float:
        """What each of its hotkeys earned, over an honest miner's mean."""
        whole = self.honest_mean * self.epochs * len(tally.hotkeys)
        return tally.earned / whole if whole else 0.0

    def get_of_twin(self, tally: Tally) -> float:
        """What all its hotkeys earned together, over what honest work on all cells earns."""
        whole = self.twin * self.epochs
        return tally.earned / whole if whole else 0.0

    def is_bounded(self, tally: Tally) -> bool:
        """Whether it earned no more than its bound."""
        return (self.get_of_twin(tally) if tally.works else self.get_relative(tally)) <= tally.bound


class Arena:
    """A world, its players and its validators."""

    def __init__(
        self,
        *,
        epochs: int = 50,
        miners: int = 64,
        cells: int = 200,
        seed: int = 1,
        attackers: Sequence[str] | None = None,
        validators: int = 2,
        spotted: float = 0.5,
    ) -> None:
        """``attackers`` names some of ``ATTACKERS``; None: all.

        ``spotted`` is the share of probes the partial endpoints take for one. Raises ValueError where fewer than three
        miners would be honest.
        """
        rngs = iter(np.random.default_rng(seed).spawn(miners + validators + 40))
        chosen = [(name, kind) for name, kind in ATTACKERS if attackers is None or name in attackers]
        partial = 2 if any(kind is Colluder for _, kind in chosen) else 0
        self.epochs = epochs
        self.rng = next(rngs)
        self.world = World(cells, epochs, next(rngs), partial=partial, spotted=spotted)
        self.attackers = [kind(hotkey=name, rng=next(rngs), kind=name) for name, kind in chosen]
        left = miners - sum(len(attacker.get_hotkeys()) for attacker in self.attackers)
        if left < 3:
            raise ValueError(
                f"{miners} miners leave {left} honest ones beside the attackers: ask for at least {miners + 3 - left}"
            )
        self.honest = [Honest(TWIN, next(rngs), since=0.5), *(draw_honest(i, next(rngs)) for i in range(left - 1))]
        self.validators = [Validator(self.world, next(rngs)) for _ in range(validators)]
        players: list[Honest] = [*self.honest, *self.attackers]
        self.players = players
        hotkeys = [hotkey for player in players for hotkey in player.get_hotkeys()]
        self.uids = {hotkey: 1 + validators + 2 + i for i, hotkey in enumerate(hotkeys)}
        self.lazy_uid, self.dishonest_uid = validators + 1, validators + 2
        self.demand = dict(zip(self.world.cells, self.world.demand.tolist(), strict=True))
        self.seen: dict[Cell, set[Fingerprint]] = {}
        self.verified: dict[Cell, Forecast] = {}
        self.weights: dict[str, float] = {}
        self.bonds: dict[int, tuple[tuple[int, int], ...]] = {}
        self.rows: dict[int, tuple[tuple[int, int], ...]] = {}
        self.revealed: dict[str, Bundle] = {}

    def run(self) -> Result:
        """Play all epochs."""
        # Millions of records come and go, none in a cycle: looking for cycles took a third of the time.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return self._run()
        finally:
            if was_enabled:
                gc.enable()

    def _run(self) -> Result:
        tallies = {a.kind: Tally(a.kind, a.get_hotkeys(), a.why, a.bound, a.works) for a in self.attackers}
        honest_earned = dict.fromkeys((h.hotkey for h in self.honest), 0.0)
        trips = bundles_judged = 0
        replays: list[int] = []
        burned: list[float] = []
        regrets: list[tuple[float, float]] = []
        dividends = np.zeros(3)
        for validator in self.validators:
            validator.calibrate()
        for epoch in range(self.epochs):
            bundles, prompts = self._play(epoch)
            docket = Docket(bundles, epoch, self.seen, self.prompts)
            self.seen = get_fingerprints(bundles)
            rows: list[dict[int, int]] = []
            findings: list[dict[str, Finding]] = []
            for validator in self.validators:
                validator.measure(epoch, prompts)
                findings.append(validator.judge(docket, self.verified, self.demand))
                rows.append(validator.weigh(epoch, findings[-1], self.uids, OWNER_UID))
            incentive, paid = self._settle(rows, epoch)
            dividends += paid
            self.weights = {hotkey: incentive[uid] for hotkey, uid in self.uids.items()}
            self.verified = combine(bundles, self.weights)
            for hotkey in honest_earned:
                honest_earned[hotkey] += self.weights[hotkey]
            burned.append(incentive[OWNER_UID])
            for finding in findings:
                bundles_judged += len(self.honest)
                trips += sum(not finding[h.hotkey].verdict.gate for h in self.honest)
                replays += [finding[h.hotkey].replays for h in self.honest]
            for tally in tallies.values():
                self._count(tally, findings, docket, epoch)
            if epoch % LOOKED_AT_EVERY == LOOKED_AT_EVERY - 1 or epoch == self.epochs - 1:
                regrets.append(self._look(bundles, tallies, epoch))
        return Result(
            epochs=self.epochs,
            tallies=list(tallies.values()),
            honest_mean=fmean(honest_earned.values()) / self.epochs,
            twin=honest_earned[TWIN] / self.epochs,
            honest_least=min(honest_earned.values()) / self.epochs,
            honest_trips=trips,
            honest_bundles=bundles_judged,
            replays=fmean(replays),
            burned=fmean(burned),
            standby=fmean(validator.standby_epochs for validator in self.validators) / self.epochs,
            regret=fmean(one for one, _ in regrets),
            regret_uniform=fmean(uniform for _, uniform in regrets),
            lazy_dividends=float(dividends[1] / dividends[0]),
            dishonest_dividends=float(dividends[2] / dividends[0]),
        )

    def _play(self, epoch: int) -> tuple[list[Bundle], Floats]:
        cells = self.world.cells
        prompts = self.rng.normal(0, PROMPT_SD, (len(cells), INDICES))
        hashes = [[f"{c}/{i}@{epoch}" for i in range(INDICES)] for c in range(len(cells))]
        self.prompts = dict(zip(cells, hashes, strict=True))
        one = self.validators[0]
        told = public.compute_public(one.trailing, self.verified, one.history)
        usual = np.array([13.0] * 6 + [14.0] * 6 + [0.9, 0.9])
        figures = [read_figures({cell: known[i] for cell, known in told.items()}, cells) for i in range(3)]
        trailing, verified, blended = (np.where(np.isnan(f), usual, f) for f in figures)
        scene = Scene(
            self.world,
            epoch,
            (epoch + 1) * EPOCH,
            prompts,
            trailing,
            verified,
            blended,
            hashes,
            self.revealed,
            self.weights,
        )
        for player in self.players:
            for bundle in player.play(scene):
                bundle.committed = len(scene.submitted)
                scene.submitted[bundle.hotkey] = bundle
        self.revealed = scene.submitted
        return list(scene.submitted.values()), prompts

    def _settle(self, rows: list[dict[int, int]], epoch: int) -> tuple[list[float], Floats]:
        """Run the chain's epoch; incentive by uid, and dividends per stake of honest, lazy and dishonest validators."""
        count = len(self.validators)
        size = 1 + count + 2 + len(self.uids)
        stake = [0] * size
        for uid in range(1, count + 1):
            stake[uid] = HONEST_STAKE * 1_000 // count
        stake[self.lazy_uid], stake[self.dishonest_uid] = LAZY_STAKE * 1_000, DISHONEST_STAKE * 1_000
        weights = {uid: tuple(row.items()) for uid, row in enumerate(rows, 1)}
        weights[self.lazy_uid] = self.rows.get(1, ())
        friend = next((self.uids[a.hotkey] for a in self.attackers if isinstance(a, IdleMiner)), OWNER_UID)
        weights[self.dishonest_uid] = ((friend, 65_535),)
        self.rows = weights
        block = 1_000 + 360 * epoch
        subnet = yuma.Subnet(
            block=block,
            stake=stake,
            last_update=[block - 1] * size,
            registered_at=[0] * size,
            permits=[0 < uid <= count + 2 for uid in range(size)],
            weights=weights,
            bonds=self.bonds,
            owner_uid=OWNER_UID,
            last_step_block=block - 360,
        )
        result = yuma.compute_epoch(subnet, EMISSION)
        self.bonds = dict(result.bonds)
        paid = np.array(result.dividends, np.float64)
        per_stake = np.array(
            [
                paid[1 : count + 1].sum() / HONEST_STAKE,
                paid[self.lazy_uid] / LAZY_STAKE,
                paid[self.dishonest_uid] / DISHONEST_STAKE,
            ]
        )
        total = sum(result.incentive) or 1
        return [share / total for share in result.incentive], per_stake

    def _count(self, tally: Tally, findings: list[dict[str, Finding]], docket: Docket, epoch: int) -> None:
        for i, hotkey in enumerate(tally.hotkeys):
            tally.earned += self.weights[hotkey]
            stopped = sum(not finding[hotkey].verdict.gate for finding in findings) * 2 > len(findings)
            doubled = i > 0 and docket.originals.get(hotkey, hotkey) != hotkey
            if stopped or doubled:
                tally.stopped += 1
                if tally.caught is None:
                    tally.caught = epoch + 1

    def _look(self, bundles: list[Bundle], tallies: dict[str, Tally], epoch: int) -> tuple[float, float]:
        """Hold the verified ranking, with and without each attacker, against what traffic meets in the next epoch."""
        world = self.world
        truth = compute_truth(world, (epoch + 2) * EPOCH)
        routing = Routing.group(world)
        ranked = compute_promises(read_figures(self.verified, world.cells), world)
        regret, uniform = compute_regret(ranked, truth, routing)
        for attacker in self.attackers:
            tally = tallies[attacker.kind]
            if isinstance(attacker, Colluder):
                partial = world.partial[world.owner]
                without = np.where(partial, truth, ranked)
            elif any(self.weights[hotkey] for hotkey in tally.hotkeys):
                weights = {h: w for h, w in self.weights.items() if h not in tally.hotkeys}
                without = compute_promises(read_figures(combine(bundles, weights), world.cells), world)
            else:
                without = ranked
            tally.swaps.append(count_swaps(ranked, without, routing))
            tally.regret.append(regret - compute_regret(without, truth, routing)[0])
        return regret, uniform


def combine(bundles: Sequence[Bundle], weights: Mapping[str, float]) -> dict[Cell, Forecast]:
    """The verified forecast of each cell, weighing miners by what consensus says of them."""
    said: dict[Cell, list[tuple[Forecast, float]]] = {}
    for bundle in bundles:
        weight = weights.get(bundle.hotkey, 0.0)
        if bundle.fault is None and weight > 0.0:
            for forecast in bundle.forecasts:
                said.setdefault(forecast.cell, []).append((forecast, weight))
    return {cell: combine_forecasts(cell, own) for cell, own in said.items()}
