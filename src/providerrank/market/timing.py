"""An epoch in Unix time, as far as blocks tell it.

A block's time is known to be the head's less so many block times; a chain that is late shifts it. So whatever is held
to it is given ``SLACK`` of an epoch on both sides: a clock that is off by less costs nobody anything, and a record can
be false by no more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from providerrank.market.ports import Head
from providerrank.rules.consistency import Window
from providerrank.rules.schedule import Phases

SLACK: Final = 0.05
"""Of an epoch: 3.6 minutes of 72."""
MAX_SLACK_US: Final = 60_000_000
MARGIN_BLOCKS: Final = 3
"""Before a deadline that something is sent at the latest: a transaction that misses a block gets into the next."""
MARGIN_SHARE: Final = 0.1
"""Of the phase that ends at the deadline, where that is longer."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How blocks and time go together."""

    block: int
    time_us: int
    block_time_us: int

    @classmethod
    def at(cls, head: Head, block_time_us: int) -> Clock:
        """The clock a head shows."""
        return cls(head.block, head.time_us, block_time_us)

    def get_time_us(self, block: int) -> int:
        """When a block was, or will be."""
        return self.time_us + (block - self.block) * self.block_time_us

    def compute_window(self, phases: Phases) -> Window:
        """When an epoch's measurements may lie."""
        start_us, end_us = self.get_time_us(phases.begins), self.get_time_us(phases.commit_until)
        slack_us = min(MAX_SLACK_US, round(SLACK * (phases.ends - phases.begins) * self.block_time_us))
        return Window(start_us - slack_us, end_us + slack_us)

    def compute_latest_us(self, begins: int, until: int) -> int:
        """When, of a phase from one block until before another, the last things must be sent."""
        margin = max(MARGIN_BLOCKS * self.block_time_us, round(MARGIN_SHARE * (until - begins) * self.block_time_us))
        return self.get_time_us(until) - margin
