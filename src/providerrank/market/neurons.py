"""How a validator gets what a miner shows: a port, and what can go wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from providerrank.market.ports import Neuron


class NotShown(Exception):
    """A miner that does not show what it owes: ``code`` says how, the message in one sentence of ours."""

    code: ClassVar[str] = "not-shown"


class Unreachable(NotShown):
    """Nobody answers at its address, or not in time."""

    code = "unreachable"


class Withheld(NotShown):
    """It answers, and not with what was asked for."""

    code = "withheld"


class TooBig(NotShown):
    """It answers with more than there may be."""

    code = "oversized"


class Neurons(Protocol):
    """Asks miners, signed as this validator."""

    async def fetch_bundle(self, neuron: Neuron, epoch: int) -> bytes:
        """Fetch a revealed bundle, bounded in size and time. Raises ``NotShown``."""
        ...

    async def fetch_openings(self, neuron: Neuron, epoch: int, leaves: Sequence[int]) -> list[bytes]:
        """Fetch openings, one for each leaf asked for, in any order. Raises ``NotShown``."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...
