"""A Merkle tree as in RFC 9162 (certificate transparency), so that one record can be shown without the others.

    leaf  = SHA-256(0x00 || data)
    node  = SHA-256(0x01 || left || right)
    tree of n leaves: left subtree has the largest power of two below n, the right one the rest

The two first bytes keep a node from being passed off as a leaf. A leaf without a partner goes up as it is and is never
paired with itself, so no two lists of leaves have one root. The size is part of what is proven: a proof is for leaf
``index`` of ``size``, and the size stands beside the root wherever a root is signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

LEAF = b"\x00"
NODE = b"\x01"
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of no leaves (RFC 9162, 2.1.1)."""


def compute_leaf(data: bytes) -> bytes:
    """Hash one leaf's data; 32 bytes."""
    return hashlib.sha256(LEAF + data).digest()


def compute_node(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees' hashes; 32 bytes."""
    return hashlib.sha256(NODE + left + right).digest()


class Tree:
    """All levels of a tree, leaves first; built once, then asked for its root and for proofs."""

    __slots__ = ("_levels",)

    def __init__(self, leaves: Iterable[bytes]) -> None:
        level = [compute_leaf(data) for data in leaves]
        self._levels = [level]
        while len(level) > 1:
            above = [compute_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
            if len(level) % 2:
                above.append(level[-1])
            self._levels.append(above)
            level = above

    def __len__(self) -> int:
        return len(self._levels[0])

    @property
    def root(self) -> bytes:
        """32 bytes that stand for every leaf and their order."""
        return self._levels[-1][0] if self._levels[0] else EMPTY_ROOT

    def prove(self, index: int) -> tuple[bytes, ...]:
        """Inclusion proof of leaf ``index``: its siblings on the way up. Raises ``IndexError`` outside the tree."""
        if not 0 <= index < len(self):
            raise IndexError(f"leaf {index} of a tree of {len(self)}")
        proof: list[bytes] = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                proof.append(level[sibling])
            index //= 2
        return tuple(proof)


def is_included(data: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``data`` is leaf ``index`` of the tree of ``size`` leaves that has this root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    last = size - 1
    reached = compute_leaf(data)
    steps = iter(proof)
    while last:
        if index % 2 or index < last:
            sibling = next(steps, None)
            if sibling is None:
                return False
            reached = compute_node(sibling, reached) if index % 2 else compute_node(reached, sibling)
        index //= 2
        last //= 2
    return next(steps, None) is None and reached == root
