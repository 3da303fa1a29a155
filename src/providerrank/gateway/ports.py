"""What the data plane needs from outside, as protocols it owns. Engines implement them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from providerrank.rules.cells import Cell
from providerrank.rules.window import Window


class WindowStore(Protocol):
    """Keeps what was learned about cells, so that a restart does not start cold."""

    async def load(self) -> list[tuple[Cell, Window]]:
        """Everything kept, in any order."""

    async def save(self, windows: Sequence[tuple[Cell, Window]]) -> None:
        """Replace the kept window of each given cell, all or nothing."""

    async def close(self) -> None:
        """Release what the store holds; no call may follow."""
