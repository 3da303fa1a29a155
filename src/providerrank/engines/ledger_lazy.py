"""A ledger that is opened when the first key with a name asks for its account.

Most gateways have no such key and need no file; one may come with a reload, when everything else is long open.
"""

from __future__ import annotations

from collections.abc import Callable

from providerrank.gateway.ports import Account, Ledger


class LazyLedger:
    """A ``Ledger`` in front of the one that ``make`` opens."""

    def __init__(self, make: Callable[[], Ledger]) -> None:
        self._make = make
        self._ledger: Ledger | None = None

    def open(self, name: str) -> Account:
        """The account of a key. Raises ``LedgerLost``; a ledger that could not be opened is tried again next time."""
        if self._ledger is None:
            self._ledger = self._make()
        return self._ledger.open(name)

    def close(self) -> None:
        """Release the ledger, if it was opened."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
