"""Rankings in part and at a glance: what they leave out is only work."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.ask import UnknownModel
from providerrank.rules.board import SMALL
from providerrank.rules.catalog import ModelRules
from providerrank.rules.cells import PROBE, Cell
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import Glance, Ranked, Ranking
from tests.unit.rules.market import Market, S, T, endpoint


def make_market(count: int, seed: int) -> Market:
    """Endpoints of any price and past; some out, some cooling, some above the cap."""
    rng = Random(seed)
    market = Market(*(endpoint(f"e{at}", rng.choice([0.1, 0.5, 1.0, 1.5, 9.0])) for at in range(count)))
    for at in range(count):
        market.see(f"e{at}", times=rng.randrange(4), ms=rng.randrange(50, 3_000), gap_s=0.01)
        if rng.random() < 0.2:
            market.see(f"e{at}", Outcome.FAILURE, times=rng.randrange(1, 4), ms=None, gap_s=0.01)
        if rng.random() < 0.1:
            market.router.cool(f"e{at}/m", market.now + 60 * S)
    for _ in range(5):
        # Each look may move the prior, which moves the next; it comes to rest.
        market.router.ranking("m", market.now)
    return market


def get_glances(ranking: Ranking) -> dict[str, Glance]:
    return {
        row.endpoint.id: Glance(row.endpoint.id, row.effective, row.reputation, row.belief, row.state)
        for row in ranking.rows
    }


@given(st.integers(1, SMALL), st.integers(0, 1 << 20), st.integers(0, 20))
def test_the_first_of_a_small_board_are_the_first_of_all(count: int, seed: int, limit: int) -> None:
    market = make_market(count, seed)
    whole = market.router.ranking("m", market.now)
    part = market.router.ranking("m", market.now, limit=limit)
    assert part.rows == whole.rows[:limit]
    rest = whole.rows[limit:]
    assert (part.left_out, part.left_out_offered) == (len(rest), sum(row.state in {"ok", "suspect"} for row in rest))
    assert (whole.left_out, whole.left_out_offered) == (0, 0)
    assert {one.endpoint_id: one for one in market.router.glance("m", market.now)} == get_glances(whole)


def test_the_rows_are_in_order_and_ranked() -> None:
    market = make_market(40, 3)
    rows = market.router.ranking("m", market.now).rows
    inside = [row for row in rows if row.excluded is None]
    assert [row.rank for row in inside] == list(range(1, len(inside) + 1))
    assert inside == sorted(inside, key=lambda row: -row.effective)
    assert [row.rank for row in rows[len(inside) :]] == [None] * (len(rows) - len(inside))
    assert {row.excluded for row in rows[len(inside) :]} == {"price_cap"}
    assert {"ok", "out", "cooling", "excluded"} <= {row.state for row in rows}


@pytest.mark.parametrize("seed", range(4))
def test_of_a_large_board_the_first_are_as_of_now_and_the_rest_as_routing_sees_them(seed: int) -> None:
    market = make_market(4 * SMALL, seed)
    market.router.ranking("m", market.now)
    market.see("e7", times=9, ms=60)
    market.see("e8", Outcome.FAILURE, times=3, ms=None)
    market.now += 3_600 * S
    part = market.router.ranking("m", market.now, limit=20)
    glances = {one.endpoint_id: one for one in market.router.glance("m", market.now)}
    whole = market.router.ranking("m", market.now)
    assert {row.endpoint.id for row in part.rows} == {row.endpoint.id for row in whole.rows[:20]}
    for row in part.rows:
        [same] = [one for one in whole.rows if one.endpoint == row.endpoint]
        assert row.effective == pytest.approx(same.effective, abs=PARAMS.class_width)
        assert row.requests == pytest.approx(same.requests)
    assert part.left_out == len(whole.rows) - 20
    assert len(glances) == len(whole.rows)
    for name, one in get_glances(whole).items():
        assert glances[name].state == one.state
        assert glances[name].effective == pytest.approx(one.effective, abs=PARAMS.class_width)


def test_showing_a_part_leaves_the_board_in_order() -> None:
    market = make_market(4 * SMALL, 5)
    market.router.ranking("m", market.now)
    for at in range(30):
        market.see(f"e{at}", times=2, ms=2_500)
        market.now += 90 * S
        market.router.ranking("m", market.now, limit=10)
        market.router.glance("m", market.now)
        board = market.router._boards.get("m", "chat", None)
        assert board.keys == sorted(board.keys)
        assert board.keys == [standing.key for standing in board.members]


def test_pins_and_bars_exclude_in_a_part_too() -> None:
    market = Market(endpoint("a"), endpoint("b"), models=(ModelRules("m", pin=("a/m",), pin_only=True),))
    [first] = market.router.ranking("m", T, limit=1).rows
    assert first.endpoint.id == "a/m"
    assert {one.endpoint_id: one.state for one in market.router.glance("m", T)} == {"a/m": "ok", "b/m": "excluded"}


def test_a_session_is_shown_as_it_sees() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    market.see("a", times=30)
    market.see("a", Outcome.FAILURE, times=3, ms=None, session="mine", gap_s=0.001)

    def find(session: str | None) -> Ranked:
        rows = market.router.ranking("m", market.now, session=session).rows
        return next(row for row in rows if row.endpoint.id == "a/m")

    assert find("mine").belief >= find(None).belief
    assert find("mine").success < find(None).success


def test_what_was_measured_of_a_cell() -> None:
    market = Market(endpoint("a"))
    assert market.router.get_window(Cell("a/m", "chat")) is None
    market.see("a", times=3)
    window = market.router.get_window(Cell("a/m", "chat"))
    assert window is not None
    assert window.requests == pytest.approx(3, rel=0.001)
    assert market.router.get_window(Cell("a/m", PROBE)) is None
    assert market.router.get_window(Cell("b/m", "chat")) is None


def test_an_unknown_model_has_no_ranking() -> None:
    with pytest.raises(UnknownModel):
        Market(endpoint("a")).router.ranking("x", T, limit=3)


def test_something_is_usable_while_one_that_may_be_tried_is_not_believed_out() -> None:
    market = Market(endpoint("a"), endpoint("b"), models=(ModelRules("m", pin=("a/m",), pin_only=True),))
    assert market.router.has_usable(market.now)
    market.fail("a", times=5)
    assert not market.router.has_usable(market.now)
    assert market.router.has_usable(market.now + 3_600 * S)
    assert not Market().router.has_usable(T)


def test_one_that_refused_us_is_not_usable_before_its_hold_is_over() -> None:
    market = Market(endpoint("a"))
    market.see("a", Outcome.REFUSED_US, ms=None)
    state = market.router._endpoints["a/m"]
    state.belief = 0.0
    assert not market.router.has_usable(state.hold_until_us - 1)
    assert market.router.has_usable(state.hold_until_us)


def test_named_sessions_are_shown_the_latest_first() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    market.see("a", session="one")
    began = market.now
    market.wait(60)
    market.see("b", session="two")
    market.fail("a", session="one")
    market.see("b", session="one")
    one, two = market.router.sessions(10, market.now)
    assert (one.name, one.began_us, one.last_us, one.attempts) == ("one", began, market.now, 3)
    assert [cell.endpoint_id for cell in one.cells] == ["b/m", "a/m"]
    assert (two.name, two.attempts, [cell.endpoint_id for cell in two.cells]) == ("two", 1, ["b/m"])
    failed = one.cells[1]
    assert failed.task == "chat"
    assert 1.0 < failed.requests < 2.0
    assert 0.0 < failed.failures <= 1.0
    assert failed.belief > PARAMS.belief_floor
    assert one.cells[0].belief == PARAMS.belief_floor
    market.wait(120)
    later = market.router.sessions(1, market.now)
    assert [session.name for session in later] == ["one"]
    assert later[0].cells[1].failures == pytest.approx(failed.failures / 2, rel=0.02)
