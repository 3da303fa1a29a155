from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.wire.merkle import EMPTY_ROOT, Tree, compute_leaf, compute_node, is_included

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def compute_root_by_definition(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word: split at the largest power of two below the size."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = compute_root_by_definition(leaves[:split]), compute_root_by_definition(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@given(LEAVES)
def test_the_root_is_the_one_the_rfc_defines(leaves: list[bytes]) -> None:
    assert Tree(leaves).root == compute_root_by_definition(leaves)


@given(LEAVES, st.data())
def test_every_leaf_is_proven_and_nothing_else_is(leaves: list[bytes], data: st.DataObject) -> None:
    tree = Tree(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = tree.prove(index)
    assert is_included(leaves[index], index, len(leaves), proof, tree.root)
    assert not is_included(leaves[index] + b"x", index, len(leaves), proof, tree.root)
    assert not is_included(leaves[index], index, len(leaves), (*proof, bytes(32)), tree.root)
    assert not is_included(leaves[index], index, len(leaves), proof, bytes(32))
    if proof:
        assert not is_included(leaves[index], index, len(leaves), proof[:-1], tree.root)
        changed = bytes([proof[0][0] ^ 1]) + proof[0][1:]
        assert not is_included(leaves[index], index, len(leaves), (changed, *proof[1:]), tree.root)
    for other, leaf in enumerate(leaves):
        if leaf != leaves[index]:
            assert not is_included(leaves[index], other, len(leaves), proof, tree.root)


@given(LEAVES, st.integers(-3, 60))
def test_a_proof_is_for_one_size(leaves: list[bytes], size: int) -> None:
    """A size with another path, or none, is refused; where the path is the same, only the last leaf's can differ."""
    tree = Tree(leaves)
    included = is_included(leaves[0], 0, size, tree.prove(0), tree.root)
    assert included == (size > 0 and (size - 1).bit_length() == (len(leaves) - 1).bit_length())


@given(LEAVES)
def test_a_repeated_last_leaf_changes_the_root(leaves: list[bytes]) -> None:
    assert Tree(leaves).root != Tree([*leaves, leaves[-1]]).root


def test_a_node_is_not_a_leaf() -> None:
    left, right = compute_leaf(b"a"), compute_leaf(b"b")
    assert compute_leaf(left + right) != compute_node(left, right)
    assert not is_included(left + right, 0, 1, (), Tree([b"a", b"b"]).root)


def test_known_roots() -> None:
    """An empty tree, and a tree of one empty leaf, as certificate transparency prints them."""
    assert Tree([]).root == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Tree([b""]).root.hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert len(Tree([b"", b""])) == 2


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_proof_outside_the_tree(index: int) -> None:
    with pytest.raises(IndexError, match=f"leaf {index} of a tree of 3"):
        Tree([b"a", b"b", b"c"]).prove(index)
