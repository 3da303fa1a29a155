"""The parameters agree with what the design promises of them."""

from __future__ import annotations

import dataclasses

import pytest

from providerrank.rules import params
from providerrank.rules.params import PARAMS


def test_weights_sum_to_one() -> None:
    assert PARAMS.reputation_weight + PARAMS.price_weight == pytest.approx(1.0)
    assert PARAMS.latency_weight + PARAMS.reliability_weight + PARAMS.uptime_weight == pytest.approx(1.0)
    assert PARAMS.ttft_median_power + PARAMS.ttft_tail_power == pytest.approx(1.0)


def test_the_cap_on_the_healthy_rate_is_low_enough_for_three_failures() -> None:
    odds = PARAMS.belief_floor / (1 - PARAMS.belief_floor)
    assert odds * (PARAMS.out_failure_rate / PARAMS.healthy_failure_cap) ** 3 > 1.2


def test_an_unknown_task_is_chat() -> None:
    assert PARAMS.get_task("poetry") == PARAMS.get_task("chat")
    assert PARAMS.get_task("long-context").target_ttft_us == 1_500_000


def test_they_are_frozen_and_named() -> None:
    assert PARAMS.version == params.VERSION
    with pytest.raises(dataclasses.FrozenInstanceError):
        PARAMS.version = "2"  # type: ignore[misc]  # the point of the test
