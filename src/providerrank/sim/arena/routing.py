"""What a ranking is worth: regret of routing by it, and how far one ranking is from another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from providerrank.rules.params import PARAMS
from providerrank.sim.arena.world import STEP, Floats, World
from providerrank.sim.gate_world import EPOCH

NODES = np.linspace(-2.5, 2.5, 21)
DENSITY = np.exp(-(NODES**2) / 2) / np.exp(-(NODES**2) / 2).sum()


@dataclass(frozen=True, slots=True)
class Routing:
    """The cells of each model and task, and the demand there."""

    groups: tuple[tuple[int, ...], ...]
    demand: tuple[float, ...]

    @classmethod
    def group(cls, world: World) -> Routing:
        """Those with a choice to make."""
        found: dict[tuple[str, str], list[int]] = {}
        for c in range(len(world.cells)):
            found.setdefault((world.models[world.owner[c]], world.tasks[c]), []).append(c)
        groups = tuple(tuple(members) for members in found.values() if len(members) > 1)
        return cls(groups, tuple(float(world.demand[list(members)].sum()) for members in groups))


def compute_truth(world: World, start: float) -> Floats:
    """The utility that real traffic meets per cell in the epoch from ``start``, by quadrature over the noise."""
    at = np.tile(start + np.arange(0, EPOCH, STEP), (len(world.cells), 1))
    level, failing = world.get_state(at)
    targets = np.array([PARAMS.get_task(task).target_ttft_us / 1e6 for task in world.tasks])
    noise = world.noise[world.owner]
    soon = np.zeros_like(level)
    for node, share in zip(NODES, DENSITY, strict=True):
        soon += share * np.minimum(1.0, targets[:, None] / np.exp(level + node * noise[:, None]))
    passed = 1 - world.violation[world.owner]
    truth: Floats = ((1 - failing) * soon).mean(axis=1) * passed
    return truth


def compute_regret(ranked: Floats, truth: Floats, routing: Routing) -> tuple[float, float]:
    """Utility missed by sending all to the first, and by sending to all alike; demand-weighted means."""
    total = sum(routing.demand) or 1.0
    missed = uniform = 0.0
    for members, demand in zip(routing.groups, routing.demand, strict=True):
        own = truth[list(members)]
        missed += demand * float(own.max() - own[int(ranked[list(members)].argmax())])
        uniform += demand * float(own.max() - own.mean())
    return missed / total, uniform / total


def count_swaps(one: Floats, other: Floats, routing: Routing) -> float:
    """Kendall distance: the share of pairs that two rankings order differently, 0..1."""
    swapped = sum(
        (one[a] - one[b]) * (other[a] - other[b]) < 0 for members in routing.groups for a, b in combinations(members, 2)
    )
    return float(swapped / max(1, sum(math.comb(len(members), 2) for members in routing.groups)))
