"""What both kinds of neuron work with: handed in once, by whoever composes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from providerrank.market.asking import Checker, Prober
from providerrank.market.journal import Journal
from providerrank.market.ports import Chain
from providerrank.wire.signature import Hotkey


@dataclass(frozen=True, slots=True)
class Tools:
    """Engines of one neuron."""

    chain: Chain
    key: Hotkey
    prober: Prober
    checker: Checker
    journal: Journal
    now_us: Callable[[], int]
    """Unix time in microseconds."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    """Seconds."""
