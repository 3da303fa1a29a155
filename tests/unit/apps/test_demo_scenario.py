"""The demo's script: in order, never everything broken at once, always the leader."""

from __future__ import annotations

import pytest

from providerrank.apps.demo.scenario import CAP, PLAYS, SCRIPT, SELLERS, SENTENCES, Mishap, choose_victim, compute_cues
from providerrank.sim.llama_relay import FAULTS


@pytest.mark.parametrize("seconds", [15.0, 60.0, 600.0])
def test_cues_come_in_order_and_inside_the_show(seconds: float) -> None:
    cues = compute_cues(seconds)
    times = [cue.at_s for cue in cues]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < seconds
    assert len(cues) == 2 * len(SCRIPT)


def test_at_most_two_of_the_four_are_broken_at_once_and_all_are_well_at_the_end() -> None:
    broken = most = 0
    for cue in compute_cues(100.0):
        broken += 1 if cue.is_begin else -1
        most = max(most, broken)
    assert (most, broken) == (2, 0)


def test_every_mishap_is_played_and_told() -> None:
    assert {event.mishap for event in SCRIPT} == set(Mishap) == set(SENTENCES)
    assert set(PLAYS) == set(Mishap) - {Mishap.KILLED}
    assert {play.fault for play in PLAYS.values()} <= FAULTS


def test_every_seller_is_within_the_cap() -> None:
    assert all(s.price.input_nusd <= CAP.input_nusd and s.price.output_nusd <= CAP.output_nusd for s in SELLERS)
    assert len({seller.endpoint_id for seller in SELLERS}) == len(SELLERS) >= 3


@pytest.mark.parametrize(
    ("by_rank", "broken", "victim"),
    [
        (["a", "b", "c"], [], "a"),
        (["a", "b", "c"], ["a"], "b"),
        (["b", "a", "c"], ["c"], "b"),
        (["a", "b"], ["a"], None),
        ([], [], None),
    ],
)
def test_the_victim_is_the_best_that_is_well_and_the_last_one_is_spared(
    by_rank: list[str], broken: list[str], victim: str | None
) -> None:
    assert choose_victim(by_rank, broken) == victim
