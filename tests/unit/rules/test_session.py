"""A session's decayed counts and beliefs."""

from __future__ import annotations

import pytest

from providerrank.rules.belief import compute_belief, compute_updated_belief
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.session import SessionCell, compute_session_decay

T = 1_790_000_000_000_000


def test_counts_halve_in_two_minutes_and_late_ones_count_in_full() -> None:
    cell = SessionCell()
    for at_us in (T, T + PARAMS.session_half_life_us, T):
        cell.observe(Observation("a", "chat", at_us, Outcome.SUCCESS), 5.0, 1.0)
    assert cell.requests == cell.timed == pytest.approx(2.5)
    assert cell.log_sum == pytest.approx(12.5)
    assert cell.at_us == T + PARAMS.session_half_life_us
    assert compute_session_decay(-5) == 1.0
    assert compute_session_decay(PARAMS.session_half_life_us) == 0.5


def test_each_outcome_weighs_what_it_should() -> None:
    expected = {
        Outcome.SUCCESS: (1.0, 0.0),
        Outcome.FAILURE: (0.5, 0.5),
        Outcome.REFUSED_US: (0.5, 0.5),
        Outcome.RATE_LIMITED: (0.25, 0.25),
        Outcome.SCHEMA_VIOLATION: (1.0, 1.0),
    }
    for outcome, counts in expected.items():
        cell = SessionCell()
        cell.observe(Observation("a", "chat", T, outcome), None, 0.5)
        assert (cell.requests, cell.failures, cell.timed) == (*counts, 0.0)


def test_belief_returns_to_its_floor() -> None:
    assert compute_belief(0.51, PARAMS.belief_half_life_us) == pytest.approx(0.26)
    assert compute_belief(0.51, -1) == 0.51
    assert compute_belief(PARAMS.belief_floor, 5) == PARAMS.belief_floor
    cell = SessionCell()
    cell.belief, cell.at_us = 0.51, T
    assert cell.get_belief(T + PARAMS.belief_half_life_us) == pytest.approx(0.26)


def test_what_is_nobodys_fault_is_no_evidence() -> None:
    assert compute_updated_belief(0.3, Outcome.NOBODYS, 0.1) == 0.3


@pytest.mark.parametrize("failure_rate", [0.0, 0.001, 0.05, 0.15, 0.5, 1.0])
def test_three_failures_in_a_row_put_any_endpoint_out(failure_rate: float) -> None:
    belief = PARAMS.belief_floor
    for _ in range(3):
        belief = compute_updated_belief(belief, Outcome.FAILURE, failure_rate)
    assert belief > PARAMS.belief_out


def test_one_failure_alarms_only_of_an_endpoint_that_never_fails() -> None:
    one = [compute_updated_belief(PARAMS.belief_floor, Outcome.FAILURE, rate) for rate in (0.0, 0.05, 0.15)]
    assert one[0] > 0.4
    assert one[0] > one[1] > one[2]
    assert one[2] < 0.06


def test_two_successes_bring_back_what_is_due() -> None:
    belief = compute_updated_belief(PARAMS.belief_out, Outcome.SUCCESS, 0.01)
    assert compute_updated_belief(belief, Outcome.SUCCESS, 0.01) < PARAMS.belief_suspect
