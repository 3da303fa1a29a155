"""When what may be done within an epoch: blocks in, deadlines out.

::

    begins            commit_until     reveal_until                 ends
      | probe, commit     | reveal         | replay, set weights      |
      ^ beacon            ^ too late for what was committed to        ^ Yuma
                                           ^ beacon of the sample

All are block numbers, each the first block of what comes next: something due ``until`` a block has to be in one
before it. An epoch's challenges follow from the hash of its first block, so nobody can measure ahead. What a validator
samples follows from the hash of block ``reveal_until``: later than the commitments, so nobody fits a bundle to the
sample, and later than the reveals too, so nobody who sees that the sample has found him can choose to stay silent
instead.

No chain knows these deadlines but the local one, which refuses what is late. On another, readers leave out what
was published late, by its block: the rule is the same, and a latecomer gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COMMIT_PPM: Final = 500_000
"""Of an epoch until which commitments are taken: half of it to measure in."""
REVEAL_PPM: Final = 600_000
"""Of an epoch until which reveals are taken: 36 blocks of 360, so a miner that restarts still finds the time. The rest
is the validators'."""
MIN_EPOCH_BLOCKS: Final = 5
"""With fewer, two deadlines would be one block."""
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Phases:
    """One epoch's blocks: from ``begins`` until before ``ends``, with the two deadlines between."""

    epoch: int
    begins: int
    commit_until: int
    reveal_until: int
    ends: int

    @property
    def challenge_block(self) -> int:
        """The block whose hash is the beacon of the epoch's challenges."""
        return self.begins

    @property
    def sample_block(self) -> int:
        """The block whose hash is the beacon of what validators sample."""
        return self.reveal_until

    def may_commit(self, block: int) -> bool:
        """Whether a commitment in this block counts."""
        return self.begins <= block < self.commit_until

    def may_reveal(self, block: int) -> bool:
        """Whether a reveal in this block counts."""
        return self.commit_until <= block < self.reveal_until


def compute_phases(epoch: int, begins: int, ends: int) -> Phases:
    """Return the deadlines of an epoch of ``ends - begins`` blocks.

    Raises ValueError for an epoch of fewer than ``MIN_EPOCH_BLOCKS``.
    """
    blocks = ends - begins
    if blocks < MIN_EPOCH_BLOCKS:
        raise ValueError(f"an epoch of {blocks} blocks: {MIN_EPOCH_BLOCKS} are the fewest with room for its deadlines")
    commit = begins + blocks * COMMIT_PPM // _MILLION
    reveal = max(commit + 1, begins + blocks * REVEAL_PPM // _MILLION)
    return Phases(epoch, begins, commit, reveal, ends)
