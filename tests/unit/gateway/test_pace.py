"""A slow endpoint is told from a silent one by the pace it was seen to write at."""

from __future__ import annotations

import pytest

from providerrank.gateway.pace import DEVIATIONS, MARGIN, MAX_STRETCH, SLOW_US_PER_TOKEN, USUAL_SHARE, Pace

UNKNOWN_US = 15_000_000


def seen(*answers: tuple[int, int]) -> Pace:
    pace = Pace()
    for writing_us, tokens in answers:
        pace.observe(writing_us, tokens)
    return pace


@pytest.mark.parametrize(
    ("limit", "allowed_us"), [(None, UNKNOWN_US), (10, UNKNOWN_US), (2_000, 2_000 * SLOW_US_PER_TOKEN)]
)
def test_before_anything_was_seen(limit: int | None, allowed_us: int) -> None:
    assert Pace().allow_us(limit, UNKNOWN_US) == allowed_us


def test_after_one_answer_half_its_time_is_its_deviation() -> None:
    assert seen((1_000, 10)).allow_us(None, UNKNOWN_US) == int(MARGIN * (1_000 + DEVIATIONS * 500))


def test_a_steady_endpoint_is_given_little_more_than_it_takes() -> None:
    steady = seen(*[(1_000, 10)] * 200).allow_us(None, UNKNOWN_US)
    assert MARGIN * 1_000 <= steady < MARGIN * 1_001


def test_an_unsteady_endpoint_is_given_more() -> None:
    unsteady = seen(*[(500, 10), (1_500, 10)] * 100).allow_us(None, UNKNOWN_US)
    assert unsteady > 2 * seen(*[(1_000, 10)] * 200).allow_us(None, UNKNOWN_US)


def test_newer_answers_count_for_more() -> None:
    slower = seen(*[(1_000, 10)] * 20, *[(9_000, 10)] * 20)
    faster = seen(*[(9_000, 10)] * 20, *[(1_000, 10)] * 20)
    assert slower.allow_us(None, UNKNOWN_US) > faster.allow_us(None, UNKNOWN_US)


@pytest.mark.parametrize(
    ("limit", "stretch"), [(1, 1.0), (400, 1.0), (800, 2.0), (1_600, MAX_STRETCH), (1_000_000, MAX_STRETCH)]
)
def test_a_request_for_a_longer_answer_is_given_more_time_up_to_a_bound(limit: int, stretch: float) -> None:
    pace = seen((1_000, 100))
    assert USUAL_SHARE == 4.0
    assert pace.allow_us(limit, UNKNOWN_US) == int(pace.allow_us(None, UNKNOWN_US) * stretch)


def test_answers_of_no_tokens_divide_nothing_by_zero() -> None:
    assert seen((1_000, 0)).allow_us(100, UNKNOWN_US) == int(MARGIN * 3_000 * MAX_STRETCH)
