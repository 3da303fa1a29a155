"""What the data plane needs from outside, as protocols it owns. Engines implement them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from providerrank.rules.budget import Budget, Hold, Refusal, Standing
from providerrank.rules.cells import Cell
from providerrank.rules.verified import Finding
from providerrank.rules.window import Window


class WindowStore(Protocol):
    """Keeps what was learned about cells, so that a restart does not start cold."""

    async def load(self) -> list[tuple[Cell, Window]]:
        """Everything kept, in any order."""

    async def save(self, windows: Sequence[tuple[Cell, Window]]) -> None:
        """Replace the kept window of each given cell, all or nothing."""

    async def close(self) -> None:
        """Release what the store holds; no call may follow."""


class FindingStore(Protocol):
    """Keeps what validators have found, for gateways to rank by."""

    async def load_findings(self) -> list[Finding]:
        """What validators have found of cells, the newest of each; in any order."""

    async def save_findings(self, findings: Sequence[Finding]) -> None:
        """Keep findings, each in the place of an older one of the same cell and validator, all or nothing."""

    async def close(self) -> None:
        """Release what the store holds; no call may follow."""


class Store(WindowStore, FindingStore, Protocol):
    """Both."""


class LedgerLost(Exception):
    """What a key has used cannot be read or written just now; nothing was changed."""


class Account(Protocol):
    """What one key has used. Each call is one step that no other process comes between."""

    def reserve(self, budget: Budget, now_us: int, tokens: int, cost_nusd: int) -> Hold | Refusal:
        """``rules.budget.reserve``. Raises ``LedgerLost``."""

    def settle(self, hold: Hold, now_us: int, input_tokens: int, output_tokens: int, cost_nusd: int) -> None:
        """``rules.budget.settle``. Raises ``LedgerLost``."""

    def read(self, now_us: int) -> Standing:
        """``rules.budget.read``. Raises ``LedgerLost``."""


class Ledger(Protocol):
    """Keeps what keys have used: over restarts, and for every process of this machine that serves them."""

    def open(self, name: str) -> Account:
        """The account of a key, by its configured name; one of its own where there was none. Raises ``LedgerLost``."""

    def close(self) -> None:
        """Release what the ledger holds; no call on it or its accounts may follow."""
