"""What a neuron must not forget when it dies: the journal, a port.

Two rules make a neuron restartable at any instant:

* *Decide once.* What is decided for an epoch (salt, bundle, weights) is written before it is acted on, and the first
  one written stands: after a restart the same bytes are committed, revealed or set again, and a chain answers a
  repetition as it answered the first.
* *Charge first.* The most a request can cost is charged before it is sent, in the same step in which its id is taken.
  Who dies in between has paid for it, and never sends it twice under that id. When its end is known, the charge
  becomes what it did cost. So what was spent is never less than the truth, whenever one dies.

Every call is synchronous and one transaction. It is on the disk, as far as a killed process is concerned, when the call
returns; ``decide`` also outlives a loss of power.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from providerrank.rules.cells import Cell

DAY_US: Final = 86_400_000_000


class Purpose(enum.StrEnum):
    """Why an endpoint was asked."""

    PROBE = "probe"
    """A miner's measurement."""
    REFERENCE = "reference"
    """A validator's, before the deadline: it serves all bundles."""
    REPLAY = "replay"
    """A validator's, after the deadline."""
    DOUBLE = "double"
    """The same challenge once more, to see how an endpoint agrees with itself."""


class Charge(enum.Enum):
    """What came of asking for money."""

    TAKEN = "taken"
    KNOWN = "known"
    """This call was charged before: it is not to be made again."""
    BROKE = "broke"
    """The day's limit has no room for it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One paid request. ``note`` is what came of it, as its maker encodes it; None: not known (yet, or ever)."""

    id: str
    epoch: int
    purpose: Purpose
    cell: Cell
    index: int
    nusd: int
    """Charged: the most it can cost, until it is settled."""
    at_us: int
    note: bytes | None = None


class JournalBusy(Exception):
    """Another process uses this journal: two of one hotkey would commit twice."""


class Journal(Protocol):
    """Keeps one neuron's decisions and charges. Raises ``JournalLost`` where it cannot: then nothing may be done."""

    def decide(self, epoch: int, name: str, value: bytes) -> bytes:
        """Write a decision, unless there is one of this name for this epoch already; returns the one that stands."""
        ...

    def get(self, epoch: int, name: str) -> bytes | None:
        """A decision; None where there is none."""
        ...

    def get_latest(self, name: str, before_epoch: int) -> tuple[int, bytes] | None:
        """The decision of this name of the latest epoch before one, with its epoch."""
        ...

    def charge(self, call: Call, limit_nusd: int | None) -> Charge:
        """Take a call's id and charge the most it can cost; within ``limit_nusd`` a UTC day. None: no limit."""
        ...

    def settle(self, call_id: str, nusd: int, note: bytes) -> None:
        """A call is over: what it cost, and what came of it. Of a call settled before, nothing changes."""
        ...

    def calls(self, epochs: Iterable[int], purposes: Iterable[Purpose]) -> list[Call]:
        """Calls of these epochs and purposes, in the order they were charged."""
        ...

    def get_spent_nusd(self, at_us: int) -> int:
        """What was charged on the UTC day of an instant."""
        ...

    def forget(self, before_epoch: int) -> None:
        """Let go of decisions and calls of older epochs; what was spent stays counted."""
        ...

    def close(self) -> None:
        """Nothing works after it."""
        ...


class JournalLost(Exception):
    """The journal cannot be read or written; the message is one sentence for the operator."""
