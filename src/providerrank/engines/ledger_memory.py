"""Budgets kept in this process only: for tests, and for a gateway of which nothing is to last."""

from __future__ import annotations

from providerrank.rules import budget
from providerrank.rules.budget import ROW_WORDS, Budget, Hold, Refusal, Standing


class MemoryLedger:
    """A ``Ledger`` that lasts as long as the object."""

    def __init__(self) -> None:
        self._accounts: dict[str, MemoryAccount] = {}

    def open(self, name: str) -> MemoryAccount:
        """The account of a key; the same one each time."""
        return self._accounts.setdefault(name, MemoryAccount())

    def close(self) -> None:
        """Nothing to release; what was counted stays with the object, so that a test can reopen it."""


class MemoryAccount:
    """One row, as a list."""

    __slots__ = ("_row",)

    def __init__(self) -> None:
        self._row = [0] * ROW_WORDS

    def reserve(self, limits: Budget, now_us: int, tokens: int, cost_nusd: int) -> Hold | Refusal:
        """Admit one request, or say which limit is out."""
        return budget.reserve(self._row, 0, limits, now_us, tokens, cost_nusd)

    def settle(self, hold: Hold, now_us: int, input_tokens: int, output_tokens: int, cost_nusd: int) -> None:
        """Replace a hold by what was used."""
        budget.settle(self._row, 0, hold, now_us, input_tokens, output_tokens, cost_nusd)

    def read(self, now_us: int) -> Standing:
        """How the key stands."""
        # A copy: who looks at tomorrow must not bring it about.
        return budget.read(list(self._row), now_us)
