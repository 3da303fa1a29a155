"""Choices out of a hash: the same seed gives the same choices in any language.

A stream of 64-bit words is read from SHA-256(seed || counter), counter 0, 1, 2... as 8 bytes, four big-endian words
to a block. ``below(n)`` takes the next word under the largest multiple of n, modulo n, so every value is equally
likely. Everything else is made of ``below``; none of it depends on a library's generator, which may change.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

WORD_BYTES = 8
WORDS = 2**64


class Draw:
    """A stream of choices. ``bits`` adds up how much choice there was."""

    __slots__ = ("_block", "_counter", "_seed", "bits")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._counter = 0
        self._block = b""
        self.bits = 0.0

    def below(self, bound: int) -> int:
        """Return one of 0 to ``bound`` - 1; ``bound`` is 1 to 2^64."""
        limit = WORDS - WORDS % bound
        word = self._read_word()
        while word >= limit:
            word = self._read_word()
        self.bits += math.log2(bound)
        return word % bound

    def integer(self, low: int, high: int) -> int:
        """Return one of ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[Item], count: int) -> list[Item]:
        """Return ``count`` different places' items, in random order (the start of a Fisher-Yates shuffle)."""
        pool = list(items)
        for at in range(count):
            other = at + self.below(len(pool) - at)
            pool[at], pool[other] = pool[other], pool[at]
        return pool[:count]

    def shuffle(self, items: Sequence[Item]) -> list[Item]:
        """Return all items in random order."""
        return self.sample(items, len(items))

    def letters(self, alphabet: str, count: int) -> str:
        """Return a word of ``count`` letters."""
        return "".join(self.pick(alphabet) for _ in range(count))

    def _read_word(self) -> int:
        if not self._block:
            self._block = hashlib.sha256(self._seed + self._counter.to_bytes(8)).digest()
            self._counter += 1
        word, self._block = self._block[:WORD_BYTES], self._block[WORD_BYTES:]
        return int.from_bytes(word)
