"""What a neuron counts, for `/metrics` and for its progress line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class MinerStats:
    """Since the process began; times in Unix microseconds, 0: never."""

    epoch: int = 0
    planned: int = 0
    """Probes of this epoch."""
    probes: Counter[str] = field(default_factory=Counter)
    """By outcome, or ``own-fault``."""
    spent_today_nusd: int = 0
    committed: int = 0
    revealed: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    """Epochs without a bundle or reveal, by reason."""
    served: Counter[str] = field(default_factory=Counter)
    """Requests of validators, by status."""
    last_reveal_us: int = 0


@dataclass(slots=True)
class ValidatorStats:
    """Since the process began; times in Unix microseconds, 0: never."""

    epoch: int = 0
    bundles: Counter[str] = field(default_factory=Counter)
    """By the code they were refused with, ``passed``, ``tripped`` or ``uncovered``."""
    replays: Counter[str] = field(default_factory=Counter)
    """By outcome, or ``own-fault``."""
    references: Counter[str] = field(default_factory=Counter)
    trips: int = 0
    abstained_cells: int = 0
    """In the last epoch: cells with nothing but faults of our own."""
    spent_today_nusd: int = 0
    last_weights_us: int = 0
    weights_set: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    """Epochs without weights, by reason."""
    queue_waiting: int = 0
    verified_cells: int = 0
    """In the last epoch."""
