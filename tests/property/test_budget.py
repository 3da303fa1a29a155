"""Budgets under any interleaving: never over a limit, and everything set aside is given back or charged."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from providerrank.rules.budget import (
    DAY_US,
    HELD,
    MINUTE_REQUESTS,
    MINUTE_TOKENS,
    MINUTE_US,
    RING,
    ROW_WORDS,
    SECOND_US,
    SLOTS,
    Budget,
    Hold,
    Refusal,
    read,
    reserve,
    settle,
)

BUDGET = Budget(requests_per_minute=4, tokens_per_minute=60, spend_per_day_nusd=90)
START = 20_000 * DAY_US + DAY_US - 90 * SECOND_US
"""A minute and a half before midnight: days turn in the middle."""


@dataclass(frozen=True)
class Step:
    """Some time passes, then something happens."""

    wait_us: int
    worker: int
    tokens: int
    cost: int
    used: int
    """Of the oldest hold, in percent; above 100 this step asks, else it settles."""


@dataclass
class Live:
    hold: Hold
    worker: int
    at_us: int


WAITS = st.one_of(st.integers(0, 2_000_000), st.integers(0, 30 * SECOND_US), st.sampled_from([0, MINUTE_US, DAY_US]))
STEPS = st.lists(
    st.builds(Step, WAITS, st.integers(0, 3), st.integers(0, 70), st.integers(0, 100), st.integers(0, 300)), max_size=60
)


def check_row(row: list[int]) -> None:
    slots = [row[at : at + 3] for at in range(RING, RING + 3 * SLOTS, 3)]
    assert row[MINUTE_REQUESTS] == sum(slot[1] for slot in slots)
    assert row[MINUTE_TOKENS] == sum(slot[2] for slot in slots)
    assert all(slot[1] > 0 or slot == [0, 0, 0] for slot in slots)
    assert min(row) >= 0


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_never_over_a_limit_and_nothing_is_lost(steps: list[Step]) -> None:
    row = [0] * ROW_WORDS
    now_us = START
    live: list[Live] = []
    admitted: list[tuple[int, int]] = []
    """When, and how many tokens it may still come to."""
    charged: dict[int, int] = {}
    """By day of admission: what ended, and what may still be spent."""
    for step in steps:
        now_us += step.wait_us
        if step.used > 100:
            result = reserve(row, step.worker, BUDGET, now_us, step.tokens, step.cost)
            day = now_us // DAY_US
            if isinstance(result, Hold):
                live.append(Live(result, step.worker, now_us))
                admitted.append((now_us, step.tokens))
                charged[day] = charged.get(day, 0) + step.cost
            else:
                check_refusal(row, result, step, now_us)
        elif live:
            one = live.pop(0)
            tokens, cost = one.hold.tokens * step.used // 100, one.hold.cost_nusd * step.used // 100
            settle(row, one.worker, one.hold, now_us, tokens, 0, cost)
            admitted[admitted.index((one.at_us, one.hold.tokens))] = (one.at_us, tokens)
            charged[one.at_us // DAY_US] += cost - one.hold.cost_nusd
        check_row(row)
        minute = [tokens for at_us, tokens in admitted if at_us > now_us - MINUTE_US]
        assert len(minute) <= 4
        assert sum(minute) <= 60
        assert all(spent <= 90 for spent in charged.values())
        standing = read(list(row), now_us)
        assert standing.spent_nusd == charged.get(now_us // DAY_US, 0)
        today = [one for one in live if one.at_us // DAY_US == now_us // DAY_US]
        assert standing.held_nusd == sum(one.hold.cost_nusd for one in today)
    for one in live:
        settle(row, one.worker, one.hold, now_us, 0, 0, 0)
    assert not any(row[HELD:])
    assert read(row, now_us + MINUTE_US).minute_tokens == 0
    check_row(row)


def check_refusal(row: list[int], refusal: Refusal, step: Step, now_us: int) -> None:
    """It is not refused for nothing, and what it is told to wait for is true to the microsecond."""
    if refusal.wait_us is None:
        assert refusal.asked > refusal.allowed
        return
    assert refusal.used + refusal.asked > refusal.allowed
    for early_us, is_admitted in ((1, False), (0, True)):
        later = reserve(list(row), 0, BUDGET, now_us + refusal.wait_us - early_us, step.tokens, step.cost)
        assert isinstance(later, Hold) is is_admitted


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-3 * DAY_US, 3 * DAY_US), st.integers(0, 40), st.integers(0, 40), st.booleans()),
        max_size=40,
    )
)
def test_whatever_the_clock_does_the_row_stays_whole(steps: list[tuple[int, int, int, bool]]) -> None:
    row = [0] * ROW_WORDS
    now_us = START
    live: list[Hold] = []
    for move_us, tokens, cost, ends in steps:
        now_us += move_us
        result = reserve(row, 0, BUDGET, now_us, tokens, cost)
        if isinstance(result, Hold):
            live.append(result)
        elif live and ends:
            settle(row, 0, live.pop(), now_us, tokens, 0, 0)
        check_row(row)
        assert row[MINUTE_REQUESTS] <= 4
    for hold in live:
        settle(row, 0, hold, now_us, 0, 0, 0)
    check_row(row)
    assert not any(row[HELD:])
