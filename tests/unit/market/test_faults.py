"""Our own faults against an endpoint's."""

from __future__ import annotations

from providerrank.market.faults import LATE_US, WITNESS_US, Stalls, Witnesses


def test_another_provider_s_answer_is_a_witness_for_a_minute() -> None:
    witnesses = Witnesses()
    assert witnesses.is_ours("a", 0)
    witnesses.note("a", 0)
    assert witnesses.is_ours("a", 1)
    assert not witnesses.is_ours("b", 1)
    assert witnesses.is_ours("b", WITNESS_US + 1)


def test_a_time_that_was_in_good_part_our_own_lateness_is_spoilt() -> None:
    stalls = Stalls()
    stalls.note(1_000_000, 1_000_000 + LATE_US)
    assert not stalls.is_spoilt(900_000, 200_000)
    stalls.note(1_000_000, 1_050_000)
    assert stalls.compute_late_us(900_000, 1_100_000) == 50_000
    assert stalls.compute_late_us(1_020_000, 1_030_000) == 10_000
    assert stalls.is_spoilt(900_000, 200_000)
    assert not stalls.is_spoilt(900_000, 500_000)
    assert not stalls.is_spoilt(2_000_000, 100_000)
