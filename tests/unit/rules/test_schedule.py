from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.schedule import MIN_EPOCH_BLOCKS, Phases, compute_phases


def test_half_an_epoch_to_commit_a_tenth_to_reveal_the_rest_to_replay() -> None:
    assert compute_phases(7, 2_520, 2_880) == Phases(7, 2_520, 2_700, 2_736, 2_880)


def test_beacons_are_the_first_block_and_the_one_after_the_last_reveal() -> None:
    phases = compute_phases(7, 2_520, 2_880)
    assert (phases.challenge_block, phases.sample_block) == (2_520, 2_736)
    assert not phases.may_reveal(phases.sample_block)
    assert phases.may_reveal(phases.sample_block - 1)


def test_deadlines_are_the_first_block_that_is_too_late() -> None:
    phases = compute_phases(0, 10, 20)
    assert [block for block in range(25) if phases.may_commit(block)] == [10, 11, 12, 13, 14]
    assert [block for block in range(25) if phases.may_reveal(block)] == [15]


def test_an_epoch_without_room_for_its_deadlines_is_refused() -> None:
    with pytest.raises(ValueError, match="an epoch of 4 blocks: 5 are the fewest"):
        compute_phases(0, 10, 14)


@given(st.integers(0, 10**9), st.integers(MIN_EPOCH_BLOCKS, 10**5))
def test_every_phase_of_every_epoch_has_a_block(begins: int, blocks: int) -> None:
    phases = compute_phases(0, begins, begins + blocks)
    assert phases.begins < phases.commit_until < phases.reveal_until < phases.ends
