from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from providerrank.rules import emission

OWNER = 1_000
CAP = Fraction(15, 100)
scores = st.dictionaries(
    st.integers(0, 255), st.floats(0, 1e6) | st.floats(0, 1) | st.sampled_from([0.0, 0.25, 1.0]), max_size=40
)
uneven = st.lists(st.integers(-30, 3), min_size=1, max_size=256).map(
    lambda powers: {uid: 10.0**power for uid, power in enumerate(powers)}
)


def as_the_chain_stores(row: dict[int, int]) -> dict[int, int]:
    """A row scaled as the chain scales it: the greatest becomes 65535, in 32 fraction bits, rounded to nearest."""
    top = max(row.values())
    return {uid: ((weight * 65535 << 32) // top + (1 << 31)) >> 32 for uid, weight in row.items()}


@given(scores=scores | uneven, pool=st.sampled_from([1_000_000, 100_000]))
@example(scores={}, pool=1_000_000)
@example(scores=dict.fromkeys(range(7), 1.0), pool=1_000_000)
@example(scores={0: 1.0} | dict.fromkeys(range(1, 7), 0.9999999), pool=1_000_000)
@example(scores=dict.fromkeys(range(6), 1.0) | {6: 1e-9}, pool=1_000_000)
@settings(max_examples=300)
def test_for_any_scores_shares_and_chain_weights_keep_the_rules(scores: dict[int, float], pool: int) -> None:
    result = emission.compute_emission(scores, pool_ppm=pool)
    row = emission.compute_weights(result, OWNER)
    assert sum(result.shares.values(), Fraction(0)) + result.burn == 1
    assert all(0 <= share <= CAP for share in result.shares.values())
    assert max(row.values()) == 65_535
    assert as_the_chain_stores(row) == row
    total = sum(row.values())
    for uid, score in scores.items():
        weight = row.get(uid, 0)
        assert weight * 100 <= 15 * total
        for other, other_score in scores.items():
            if score == other_score:
                assert weight == row.get(other, 0)
                assert result.shares[uid] == result.shares[other]
            elif score > other_score:
                assert weight >= row.get(other, 0)
                assert result.shares[uid] >= result.shares[other]
        # n miners rounded down by less than a unit each, of a sum of at least 65535
        assert abs(Fraction(weight, total) - result.shares[uid]) <= Fraction(2 * len(scores) + 2, 65_535)


@given(scores=scores)
def test_seven_or_more_with_something_burn_only_what_cannot_be_paid(scores: dict[int, float]) -> None:
    earners = [score for score in scores.values() if score > 0]
    burn = emission.compute_emission(scores).burn
    assert burn == max(Fraction(0), 1 - CAP * len(earners))


def test_uncapped_shares_are_in_the_ratio_of_scores() -> None:
    shares = emission.compute_emission({uid: 1.0 + uid for uid in range(20)}).shares
    assert shares[19] / shares[4] == 4
    assert shares[0] == Fraction(1, 210)


def test_water_filling_shares_out_again_and_again() -> None:
    # 50, 16, 9 … of 100: the first is above; sharing its excess lifts the second above; then nobody is.
    scores = {0: 50.0, 1: 16.0} | dict.fromkeys(range(2, 12), 3.4)
    shares = emission.compute_emission(scores).shares
    assert shares[0] == shares[1] == CAP
    assert shares[2] == Fraction(7, 100)


def test_of_a_tenth_for_miners_they_share_a_tenth_and_the_rest_is_burned() -> None:
    tenth = emission.compute_emission({1: 3.0, 2: 1.0}, pool_ppm=100_000)
    assert tenth.shares == {1: Fraction(75, 1_000), 2: Fraction(25, 1_000)}
    assert tenth.burn == Fraction(9, 10)
    alone = emission.compute_emission({1: 3.0}, pool_ppm=200_000)
    assert (alone.shares[1], alone.burn) == (CAP, 1 - CAP), "the cap is of the whole"


def test_nobody_earning_burns_all() -> None:
    assert emission.compute_weights(emission.compute_emission({1: 0.0}), OWNER) == {OWNER: 65_535}


def test_the_owner_earns_nothing_by_a_score() -> None:
    row = emission.compute_weights(emission.compute_emission({OWNER: 1.0, 1: 1.0}), OWNER)
    assert row[OWNER] == 65_535
    assert row[1] / (row[1] + row[OWNER]) == pytest.approx(0.15, abs=1e-4)


def test_the_cap_holds_of_the_integers_where_burn_is_at_the_top_of_their_range() -> None:
    shares = {OWNER: 2.0, 1: 2.0} | {uid: 0.9 + uid / 1_000 for uid in range(2, 12)}
    result = emission.compute_emission(shares)
    assert result.shares[1] == CAP
    row = emission.compute_weights(result, OWNER)
    assert row[OWNER] == 65_535 > row[1]
    assert row[1] * 100 <= 15 * sum(row.values())


@pytest.mark.parametrize("score", [-0.1, float("nan"), float("inf")])
def test_a_score_that_is_none_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="uid 3"):
        emission.compute_emission({3: score})


def test_averages_rise_decay_and_are_forgotten() -> None:
    averages: dict[str, float] = {}
    for _ in range(5):
        averages = emission.compute_averages(averages, {"a": 1.0}, ())
    assert averages == {"a": pytest.approx(1 - 0.8**5)}
    averages = emission.compute_averages(averages, {}, ())
    assert averages == {"a": pytest.approx(0.8 * (1 - 0.8**5))}
    for _ in range(70):
        averages = emission.compute_averages(averages, {}, ())
    assert averages == {}


def test_a_trip_zeroes_and_resets() -> None:
    averages = emission.compute_averages({"liar": 0.9, "honest": 0.9}, {"liar": 1.0, "honest": 1.0}, {"liar"})
    assert averages == {"honest": pytest.approx(0.92)}
    again = emission.compute_averages(averages, {"liar": 1.0, "honest": 1.0}, ())
    assert again["liar"] == pytest.approx(0.2), "as a newcomer"


def test_a_negative_score_counts_against_the_average() -> None:
    averages = emission.compute_averages({"a": 0.1}, {"a": -1.0, "b": -0.5}, ())
    assert averages == {"a": pytest.approx(0.8 * 0.1 - 0.2), "b": pytest.approx(-0.1)}


@given(
    averages=st.dictionaries(st.text(max_size=2), st.floats(-1, 1), max_size=8),
    standby=st.dictionaries(st.text(max_size=2), st.floats(0, 1), max_size=8),
    is_news=st.booleans(),
)
def test_earnings_are_averages_above_the_floor_or_what_watching_is_worth(
    averages: dict[str, float], standby: dict[str, float], *, is_news: bool
) -> None:
    earnings = emission.compute_earning(averages, standby, is_news=is_news)
    earning = earnings.amounts
    best = max(averages.values(), default=0.0)
    assert all(amount > 0 for amount in earning.values())
    if is_news and best > 0:
        assert earning == {h: a for h, a in averages.items() if a >= 0.15 * best}
        assert earnings.pool_ppm == 1_000_000
    else:
        assert earning == {h: w for h, w in standby.items() if w > 0}
        assert earnings.pool_ppm == 100_000


def test_a_newcomer_as_good_as_the_best_is_paid_at_once() -> None:
    averages = emission.compute_averages({"old": 0.4}, {"old": 0.4, "new": 0.4}, ())
    assert set(emission.compute_earning(averages, {}, is_news=True).amounts) == {"old", "new"}


@pytest.mark.parametrize(("news", "expected"), [(None, False), (90, True), (89, False), (100, True)])
def test_news_is_remembered_for_ten_epochs(news: int | None, *, expected: bool) -> None:
    assert emission.is_newsworthy(100, news) is expected
