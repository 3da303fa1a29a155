"""What to measure with a bounded purse: which cells, how often, in which order.

A miner is paid for cells that count, weighted by demand, and for being right about them. A cell counts only from
``records_min`` records on; so its first lot is bought whole or not at all, and is worth the cell's demand. Each further
record is worth what it takes from the forecast's uncertainty: the error of a mean over ``n`` draws falls as
``1 / sqrt(n)``. Lots and records are bought in the order of worth per nano-USD, greedily, while purse and time last.
That is within one lot of the best there is, as for any knapsack filled by density.

A validator buys the same way, but *which* cells must be unpredictable: each draws a number from the beacon, and cells
come in the order of ``-ln(u) / demand`` (an exponential race), so a cell is first with a chance in proportion to its
demand and nobody can say in which epoch it will be looked at.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from providerrank.rules.cells import Cell
from providerrank.rules.market_params import MARKET, MarketParams

MOST_LOTS: Final = 4
"""Records of one cell, in lots of ``records_min``: past eighty its quantiles are known to a few percent."""
UNKNOWN_SPREAD: Final = 0.8
"""Standard deviation of log time assumed where nothing was measured: what endpoints of one model differ by."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """One cell as whoever plans sees it."""

    cell: Cell
    demand: float
    """Any positive scale, the same for all; 0: nobody asks for it, and it is not measured."""
    cost_nusd: int
    """Of one request."""
    spread: float = UNKNOWN_SPREAD
    """Standard deviation of its log time."""
    known: float = 0.0
    """Decayed records of it that one has already."""


def plan_probes(
    prospects: Sequence[Prospect], purse_nusd: int, most: int, params: MarketParams = MARKET
) -> dict[Cell, int]:
    """How many requests to make of each cell: at most ``most`` in all, costing at most ``purse_nusd``.

    A cell gets none, or at least ``records_min``. Equal prospects are bought in the order given.
    """
    lot = params.records_min
    bought: dict[Cell, int] = {}
    heap: list[tuple[float, int, int]] = []
    for at, prospect in enumerate(prospects):
        if prospect.demand > 0:
            heapq.heappush(heap, (-_compute_density(prospect, 0, lot), at, lot))
    spent = asked = 0
    while heap:
        _, at, size = heapq.heappop(heap)
        prospect = prospects[at]
        cost = size * prospect.cost_nusd
        if spent + cost > purse_nusd or asked + size > most:
            # This one is too much; a cheaper or smaller one may still fit.
            continue
        spent += cost
        asked += size
        have = bought.get(prospect.cell, 0) + size
        bought[prospect.cell] = have
        if have < MOST_LOTS * lot:
            heapq.heappush(heap, (-_compute_density(prospect, have, 1), at, 1))
    return bought


def _compute_density(prospect: Prospect, have: int, size: int) -> float:
    """Worth per nano-USD of ``size`` more records; free ones cost a nano-USD, or any would be worth everything."""
    before = prospect.known + have
    gained = prospect.spread * (1.0 / math.sqrt(before + 1.0) - 1.0 / math.sqrt(before + size + 1.0))
    worth = prospect.demand * ((1.0 if not have else 0.0) + gained)
    return worth / max(1, size * prospect.cost_nusd)


def order_probes(counts: Mapping[Cell, int], seed: bytes) -> list[tuple[Cell, int]]:
    """Lay (cell, index) pairs out so that each cell is spread evenly over the whole, in an order only ``seed`` tells.

    Indices of a cell are 0 and up, in order: miners that measure one cell measure the same challenges.
    """
    placed = [
        ((index + _draw(seed, cell, index)) / count, index, cell)
        for cell, count in counts.items()
        for index in range(count)
    ]
    placed.sort(key=lambda one: (one[0], one[1], one[2].endpoint_id, one[2].task))
    return [(cell, index) for _, index, cell in placed]


def plan_cells(prospects: Sequence[Prospect], beacon: bytes) -> list[Cell]:
    """The cells in the order a validator should look at them this epoch; those without demand are left out."""
    asked = [prospect for prospect in prospects if prospect.demand > 0]
    return [p.cell for p in sorted(asked, key=lambda p: (_draw_race(beacon, p), p.cell.endpoint_id, p.cell.task))]


def _draw_race(beacon: bytes, prospect: Prospect) -> float:
    return -math.log(_draw(beacon, prospect.cell, 0)) / prospect.demand


def _draw(seed: bytes, cell: Cell, index: int) -> float:
    """A number in (0, 1] that only the seed tells."""
    hashed = hashlib.sha256(b"%b\0%b\0%b\0%d" % (seed, cell.endpoint_id.encode(), cell.task.encode(), index)).digest()
    return (int.from_bytes(hashed[:6]) + 1) / (1 << 48)
