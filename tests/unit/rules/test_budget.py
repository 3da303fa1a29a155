"""One row of budgets: what is admitted, what is charged, when it frees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from providerrank.rules.budget import (
    DAY_US,
    MAX_COST_NUSD,
    MAX_TOKENS,
    MINUTE_REQUESTS,
    MINUTE_TOKENS,
    MINUTE_US,
    ROW_WORDS,
    SECOND_US,
    UNLIMITED,
    WORKERS,
    Budget,
    Hold,
    Limit,
    Refusal,
    compute_cost_nusd,
    compute_dearest,
    compute_hold,
    process_time,
    read,
    reclaim,
    reserve,
    settle,
)
from providerrank.rules.cells import Price

DAY = 20_000
NOON = DAY * DAY_US + DAY_US // 2


class Till:
    """A row, and a clock that is set by hand."""

    def __init__(self, budget: Budget = UNLIMITED) -> None:
        self.row = [0] * ROW_WORDS
        self.budget = budget
        self.now_us = NOON

    def ask(self, tokens: int = 0, cost: int = 0, worker: int = 0) -> Hold | Refusal:
        return reserve(self.row, worker, self.budget, self.now_us, tokens, cost)

    def hold(self, tokens: int = 0, cost: int = 0, worker: int = 0) -> Hold:
        result = self.ask(tokens, cost, worker)
        assert isinstance(result, Hold)
        return result

    def refuse(self, tokens: int = 0, cost: int = 0) -> Refusal:
        process_time(self.row, self.now_us)
        before = list(self.row)
        result = self.ask(tokens, cost)
        assert isinstance(result, Refusal)
        assert self.row == before, "a refusal charges nothing"
        return result

    def settle(self, hold: Hold, tokens: tuple[int, int] = (0, 0), cost: int = 0, worker: int = 0) -> None:
        settle(self.row, worker, hold, self.now_us, *tokens, cost)


# ---- requests and tokens a minute ------------------------------------------------------------------------------------


def test_requests_are_counted_for_sixty_seconds_each() -> None:
    till = Till(Budget(requests_per_minute=2))
    till.hold()
    till.now_us += 10 * SECOND_US
    till.hold()
    till.now_us += 500_000
    refusal = till.refuse()
    assert (refusal.limit, refusal.allowed, refusal.used, refusal.asked) == (Limit.REQUESTS, 2, 2, 1)
    assert refusal.wait_us == 49_500_000
    assert refusal.minute_resets_us == 59_500_000
    assert not refusal.is_transient
    till.now_us += refusal.wait_us - 1
    assert till.refuse().wait_us == 1
    till.now_us += 1
    till.hold()
    assert till.refuse().wait_us == 10 * SECOND_US


def test_what_shares_a_second_leaves_with_the_last_of_it() -> None:
    till = Till(Budget(requests_per_minute=2))
    till.hold()
    till.now_us += 900_000
    till.hold()
    till.now_us = NOON + MINUTE_US
    assert till.refuse().wait_us == 900_000


def test_tokens_are_counted_as_set_aside_and_then_as_used() -> None:
    till = Till(Budget(tokens_per_minute=1_000))
    hold = till.hold(tokens=900)
    assert (hold.minute_requests, hold.minute_tokens) == (1, 900)
    refusal = till.refuse(tokens=101)
    assert (refusal.limit, refusal.used, refusal.asked, refusal.wait_us) == (Limit.TOKENS, 900, 101, MINUTE_US)
    assert (refusal.minute_requests, refusal.minute_tokens) == (1, 900)
    till.settle(hold, (100, 50))
    assert till.hold(tokens=850).minute_tokens == 1_000
    till.refuse(tokens=1)


def test_the_wait_is_for_as_much_as_is_asked() -> None:
    till = Till(Budget(tokens_per_minute=100))
    for _ in range(4):
        till.hold(tokens=25)
        till.now_us += 5 * SECOND_US
    assert [till.refuse(tokens).wait_us for tokens in (1, 25, 26, 100)] == [
        40 * SECOND_US,
        40 * SECOND_US,
        45 * SECOND_US,
        55 * SECOND_US,
    ]


def test_more_than_the_limit_is_never_admitted() -> None:
    till = Till(Budget(tokens_per_minute=100, spend_per_day_nusd=10))
    assert till.refuse(tokens=101).wait_us is None
    refusal = till.refuse(cost=11)
    assert (refusal.limit, refusal.wait_us, refusal.is_transient) == (Limit.SPEND, None, False)
    assert Till(Budget(requests_per_minute=0)).refuse().wait_us is None


def test_an_answer_longer_than_expected_counts_in_full() -> None:
    till = Till(Budget(tokens_per_minute=100))
    hold = till.hold(tokens=50)
    till.settle(hold, (60, 90))
    refusal = till.refuse(tokens=1)
    assert (refusal.used, refusal.wait_us) == (150, MINUTE_US)


def test_an_answer_past_its_minute_changes_nothing_of_this_one() -> None:
    till = Till(Budget(tokens_per_minute=100))
    hold = till.hold(tokens=50)
    till.now_us += MINUTE_US
    assert till.hold(tokens=20).minute_tokens == 20
    till.settle(hold, (1, 1))
    assert read(till.row, till.now_us).minute_tokens == 20


def test_a_slot_is_used_again_after_the_ring_has_gone_round() -> None:
    till = Till(Budget(tokens_per_minute=100))
    old = till.hold(tokens=10)
    till.now_us += 61 * SECOND_US
    till.hold(tokens=70)
    till.settle(old, (0, 0))
    assert read(till.row, till.now_us).minute_tokens == 70


def test_of_several_limits_the_one_that_frees_last_is_told() -> None:
    till = Till(Budget(requests_per_minute=1, tokens_per_minute=10, spend_per_day_nusd=5))
    till.hold(tokens=10, cost=5)
    assert till.refuse().limit is Limit.REQUESTS
    assert till.refuse(tokens=11).limit is Limit.TOKENS  # never, against a minute
    assert till.refuse(cost=1).limit is Limit.SPEND
    assert till.refuse(tokens=11, cost=1).limit is Limit.TOKENS


# ---- spend a day -----------------------------------------------------------------------------------------------------


def test_spend_is_charged_in_full_and_given_back() -> None:
    till = Till(Budget(spend_per_day_nusd=100))
    hold = till.hold(cost=100, worker=3)
    refusal = till.refuse(cost=1)
    assert (refusal.limit, refusal.used, refusal.held, refusal.asked) == (Limit.SPEND, 100, 100, 1)
    assert refusal.is_transient
    assert refusal.wait_us == DAY_US // 2
    till.settle(hold, (7, 9), cost=40, worker=3)
    standing = read(till.row, till.now_us)
    assert (standing.spent_nusd, standing.held_nusd) == (40, 0)
    assert (standing.day, standing.requests, standing.input_tokens, standing.output_tokens) == (DAY, 1, 7, 9)
    assert standing.day_ends_us == DAY_US // 2
    till.hold(cost=60)
    refusal = till.refuse(cost=1)
    assert (refusal.held, refusal.is_transient) == (60, True)
    assert not till.refuse(cost=61).is_transient


def test_a_day_begins_at_midnight_utc() -> None:
    till = Till(Budget(spend_per_day_nusd=10))
    till.hold(cost=10)
    till.now_us = (DAY + 1) * DAY_US - 1
    assert till.refuse(cost=1).wait_us == 1
    till.now_us += 1
    till.hold(cost=10)
    assert read(till.row, till.now_us).day == DAY + 1


def test_what_was_admitted_yesterday_is_yesterdays() -> None:
    till = Till(Budget(spend_per_day_nusd=10))
    hold = till.hold(cost=10)
    till.now_us += DAY_US
    till.settle(hold, (5, 5), cost=10)
    standing = read(till.row, till.now_us)
    assert (standing.spent_nusd, standing.held_nusd, standing.input_tokens, standing.output_tokens) == (0, 0, 0, 0)
    till.hold(cost=10)


def test_costs_that_prove_higher_are_charged_all_the_same() -> None:
    till = Till(Budget(spend_per_day_nusd=10))
    till.settle(till.hold(cost=10), cost=25)
    refusal = till.refuse(cost=1)
    assert (refusal.used, refusal.is_transient) == (25, False)


def test_what_a_dead_worker_held_stays_charged_and_is_no_longer_held() -> None:
    till = Till(Budget(spend_per_day_nusd=10))
    till.hold(cost=4, worker=1)
    lost = till.hold(cost=2, worker=2)
    till.hold(cost=3, worker=WORKERS - 1)
    assert reclaim(till.row, [2, 1]) == 6
    standing = read(till.row, till.now_us)
    assert (standing.spent_nusd, standing.held_nusd) == (9, 3)
    assert not till.refuse(cost=5).is_transient
    # One that only seemed dead settles what it held: nothing goes below none.
    till.settle(lost, cost=1, worker=2)
    standing = read(till.row, till.now_us)
    assert (standing.spent_nusd, standing.held_nusd) == (8, 3)


# ---- clocks ----------------------------------------------------------------------------------------------------------


def test_a_clock_a_little_behind_does_not_turn_the_row_back() -> None:
    till = Till(Budget(requests_per_minute=1, spend_per_day_nusd=10))
    till.now_us = (DAY + 1) * DAY_US
    till.hold(cost=4)
    till.now_us -= SECOND_US
    refusal = till.refuse()
    assert refusal.wait_us == 61 * SECOND_US
    assert till.refuse(cost=7).wait_us == DAY_US + SECOND_US
    till.now_us += SECOND_US
    assert read(till.row, till.now_us).spent_nusd == 4, "the day did not begin twice"


def test_a_clock_set_back_counts_the_minute_anew() -> None:
    till = Till(Budget(requests_per_minute=2, tokens_per_minute=100))
    first = till.hold(tokens=30)
    till.now_us += 30 * SECOND_US
    till.hold(tokens=30)
    till.now_us -= 3_600 * SECOND_US
    refusal = till.refuse()
    assert (refusal.used, refusal.wait_us) == (2, MINUTE_US)
    # Where a hold of before would be in the ring nobody can tell any more.
    till.settle(first, (0, 0))
    assert read(till.row, till.now_us).minute_tokens == 60
    till.now_us += MINUTE_US
    till.hold(tokens=100)


def test_a_hold_of_before_a_clock_was_set_back_is_not_taken_for_one_of_after() -> None:
    till = Till(Budget(tokens_per_minute=100))
    early = till.hold(tokens=50)
    till.now_us -= 2 * MINUTE_US
    read(till.row, till.now_us)
    till.now_us += 2 * MINUTE_US
    till.hold(tokens=60)
    till.settle(early, (0, 0))
    assert read(till.row, till.now_us).minute_tokens == 60


def test_a_clock_set_back_over_midnight_does_not_begin_the_day_twice() -> None:
    till = Till(Budget(spend_per_day_nusd=10))
    till.now_us = (DAY + 1) * DAY_US
    till.hold(cost=6)
    till.now_us -= 600 * SECOND_US
    till.hold(cost=3)
    till.now_us += 600 * SECOND_US
    assert read(till.row, till.now_us).spent_nusd == 9


def test_a_clock_that_was_a_year_ahead_is_forgotten_at_the_next_midnight() -> None:
    till = Till(Budget(spend_per_day_nusd=10))
    till.now_us += 365 * DAY_US
    hold = till.hold(cost=6)
    till.now_us = NOON
    till.settle(hold, cost=5)
    standing = read(till.row, till.now_us)
    assert (standing.day, standing.spent_nusd, standing.minute_requests) == (DAY, 5, 1)
    till.now_us += DAY_US
    assert read(till.row, till.now_us).spent_nusd == 0


def test_a_clock_set_back_with_nothing_in_the_minute() -> None:
    till = Till(Budget(requests_per_minute=1))
    read(till.row, till.now_us)
    till.now_us -= 3_600 * SECOND_US
    till.hold()
    assert till.refuse().wait_us == MINUTE_US


def test_a_row_that_makes_no_sense_mends() -> None:
    till = Till()
    read(till.row, till.now_us)
    till.row[MINUTE_REQUESTS] = till.row[MINUTE_TOKENS] = 5
    standing = read(till.row, till.now_us)
    assert (standing.minute_requests, standing.minute_tokens) == (0, 0)


def test_a_hold_of_a_row_that_was_lost_is_nothing_to_the_new_one() -> None:
    till = Till(Budget(tokens_per_minute=100))
    lost = till.hold(tokens=50, cost=50)
    till.row = [0] * ROW_WORDS
    till.now_us += 1
    till.hold(tokens=10, cost=10)
    till.settle(lost)
    standing = read(till.row, till.now_us)
    assert (standing.minute_tokens, standing.spent_nusd, standing.held_nusd) == (10, 10, 10)


# ---- what a request can cost -----------------------------------------------------------------------------------------


def test_cost_is_exact_and_rounded_up() -> None:
    price = Price.from_usd(0.9, 1.8)
    assert compute_cost_nusd(price, 1_000, 10) == 900_000 + 18_000
    assert compute_cost_nusd(Price(1, 1), 1, 0) == 1
    assert compute_cost_nusd(Price(1, 1), 500_000, 500_000) == 1
    assert compute_cost_nusd(Price(1, 1), 500_000, 500_001) == 2
    assert compute_cost_nusd(price, 0, 0) == 0
    # Past what a float holds exactly.
    assert compute_cost_nusd(Price(10**10 + 1, 0), 10**6 + 1, 0) == 10**10 + 1 + 10_001


def test_cached_tokens_cost_their_own_price() -> None:
    price = Price.from_usd(1.0, 2.0, 0.25)
    assert compute_cost_nusd(price, 100, 10, 40) == 60_000 + 10_000 + 20_000
    assert compute_cost_nusd(price, 100, 0, 500) == 25_000, "never more of them than there are"
    assert compute_cost_nusd(Price.from_usd(1.0, 2.0), 100, 0, 40) == 100_000


def test_the_dearest_has_both_sides_highest() -> None:
    assert compute_dearest([Price(1, 9), Price(5, 2, 1)]) == Price(5, 9)
    assert compute_dearest([]) == Price(0, 0)
    assert compute_dearest([Price(1, 1, 4)]) == Price(4, 1), "whatever that price list means by it"


@pytest.mark.parametrize(
    ("prompt", "limit", "choices", "held"),
    [
        (100, 50, 1, (150, 200 * 3 + 50 * 7)),
        (100, 50, 4, (300, 200 * 3 + 200 * 7)),
        (100, None, 1, (1_100, 200 * 3 + 1_000 * 7)),
        (100, 0, 1, (100, 200 * 3)),
        (0, 50, 0, (50, 50 * 7)),
        (0, 10**30, 10**30, (MAX_TOKENS, 7 * MAX_TOKENS)),
    ],
)
def test_a_hold_is_the_most_a_request_can_come_to(
    prompt: int, limit: int | None, choices: int, held: tuple[int, int]
) -> None:
    assert compute_hold(prompt, limit, choices, 1_000, Price(3_000_000, 7_000_000)) == held


def test_a_hold_stays_within_what_a_row_can_sum() -> None:
    tokens, cost = compute_hold(10**40, 10**40, 1, 0, Price(10**30, 10**30))
    assert (tokens, cost) == (2 * MAX_TOKENS, MAX_COST_NUSD)
    till = Till()
    hold = till.hold(tokens, cost)
    till.settle(hold, (10**40, 10**40), 10**40)
    standing = read(till.row, till.now_us)
    assert (standing.spent_nusd, standing.input_tokens, standing.minute_tokens) == (
        MAX_COST_NUSD,
        MAX_TOKENS,
        MAX_TOKENS,
    )
    assert replace(hold, tokens=0) != hold
