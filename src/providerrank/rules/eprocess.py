"""Evidence that may be looked at any time: wealth from bets against honesty.

A bet pays ``q / p`` when a suspicious thing happens that honesty lets happen with probability ``p`` at most and
cheating with ``q``, and ``(1 - q) / (1 - p)`` when it does not. To an honest miner every bet is worth at most its
stake on average, so wealth 1 that grew to ``1 / alpha`` does so with chance at most ``alpha``, however often one
looked and whenever one stopped (Ville's inequality). Wealth is kept as its logarithm.

Bets within one *cluster* (one provider in one epoch) share that hour's accidents, so their product is cut at a
ceiling: what is cut is only smaller, so the guarantee stays where bets were independent, and one incident is one event
where they were not. Clusters multiply.

Over epochs wealth is carried, but never below 1: a long honest past buys nobody credit to cheat on. The price is that
the guarantee is per bundle, at most ``alpha`` on average over any number of bundles, and not once for all time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


def compute_bet(*, happened: bool, null: float, alternative: float) -> float:
    """Log of what one bet pays; 0 < null < alternative < 1."""
    if happened:
        return math.log(alternative / null)
    return math.log((1 - alternative) / (1 - null))


@dataclass(slots=True)
class Evidence:
    """Log-wealth of one test on one hotkey: what was carried in, and this epoch's clusters."""

    ceiling: float
    """Log of the most that one cluster may contribute."""
    carried: float = 0.0
    clusters: dict[str, float] = field(default_factory=dict)
    bets: int = 0
    _won: float = 0.0
    """Of all clusters, each up to the ceiling."""

    def __post_init__(self) -> None:
        self.carried = max(0.0, self.carried)

    def add(self, cluster: str, bet: float) -> None:
        """Enter one bet of a cluster."""
        before = self.clusters.get(cluster, 0.0)
        after = self.clusters[cluster] = before + bet
        self._won += min(self.ceiling, after) - min(self.ceiling, before)
        self.bets += 1

    @property
    def log_wealth(self) -> float:
        """What there is now."""
        return self.carried + self._won
