"""A local chain's time and randomness, without the ledger: which block it is, and what a block's hash is.

*Time.* Block ``n`` exists from ``genesis + halted + n * block_time`` on. Nobody has to produce it: whoever calls first
after that instant writes down that it exists. A chain nobody calls stands still once ``halt_after`` blocks are due at
once (``ChainSettings.halt_after_blocks``).

*Randomness.* Whoever writes down new blocks draws 32 fresh bytes from the operating system then, in the same
transaction; the seed of these blocks is the hash of those bytes and the seed before, and each block's hash that of seed
and height. So before a block's time has come and somebody has called, its hash is not kept anywhere on the machine,
secret or not: it does not exist. After, it is in the ledger, and equal for every reader. A process killed between
drawing and writing has told nobody what it drew, and the next one draws anew. A hash kept as a secret and derived by
height would have been simpler, and readable by every neuron on the machine for all blocks to come.

What this cannot do: who may write to the file may write anything into it. A local chain is for neurons of one owner.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

SEED_BYTES: Final = 32
_SEED_DOMAIN: Final = b"providerrank/local-chain/seed/1\n"
_BLOCK_DOMAIN: Final = b"providerrank/local-chain/block/1\n"
_HEIGHT_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Clock:
    """Where a chain's time begins and how it goes; microseconds."""

    genesis_us: int
    halted_us: int
    block_time_us: int

    def get_time(self, block: int) -> int:
        """Return from when on a block exists."""
        return self.genesis_us + self.halted_us + block * self.block_time_us


def compute_due(clock: Clock, block: int, now_us: int, halt_after: int) -> tuple[int, int]:
    """Return which block it is now, and for how long in all the chain stood still.

    ``block`` is the last that was written down.
    A clock set back changes nothing: the chain waits until it has caught up.
    """
    due = (now_us - clock.genesis_us - clock.halted_us) // clock.block_time_us
    if due <= block:
        return block, clock.halted_us
    if halt_after and due - block > halt_after:
        halted_us = now_us - clock.genesis_us - (block + 1) * clock.block_time_us
        return block + 1, halted_us
    return due, clock.halted_us


def compute_seed(before: bytes, first: int, last: int, entropy: bytes) -> bytes:
    """Return the seed of blocks ``first`` to ``last``, chained to the seed before them."""
    return hashlib.sha256(_SEED_DOMAIN + before + _write(first) + _write(last) + entropy).digest()


def compute_hash(seed: bytes, block: int) -> bytes:
    """Return the hash of a block; 32 bytes."""
    return hashlib.sha256(_BLOCK_DOMAIN + seed + _write(block)).digest()


def _write(height: int) -> bytes:
    return height.to_bytes(_HEIGHT_BYTES)
