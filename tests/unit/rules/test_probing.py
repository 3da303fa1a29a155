"""What to measure with a bounded purse."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.cells import CHAT, Cell
from providerrank.rules.market_params import MARKET
from providerrank.rules.probing import MOST_LOTS, Prospect, order_probes, plan_cells, plan_probes

LOT = MARKET.records_min
PLENTY = 10**18


def get_cell(name: str) -> Cell:
    return Cell(f"{name}/m", CHAT)


prospects = st.lists(
    st.builds(
        Prospect,
        cell=st.integers(0, 10**6).map(lambda n: get_cell(f"p{n}")),
        demand=st.floats(0, 100),
        cost_nusd=st.integers(0, 10**6),
        spread=st.floats(0, 3),
        known=st.floats(0, 500),
    ),
    max_size=12,
    unique_by=lambda prospect: prospect.cell,
)


@given(prospects, st.integers(0, 10**8), st.integers(0, 2_000))
def test_neither_purse_nor_time_is_ever_passed_and_a_cell_gets_a_lot_or_nothing(
    some: list[Prospect], purse: int, most: int
) -> None:
    plan = plan_probes(some, purse, most)
    cost = {one.cell: one.cost_nusd for one in some}
    assert sum(count * cost[cell] for cell, count in plan.items()) <= purse
    assert sum(plan.values()) <= most
    assert all(LOT <= count <= MOST_LOTS * LOT for count in plan.values())
    assert all(one.demand > 0 for one in some if one.cell in plan)


def test_what_more_people_ask_for_comes_first() -> None:
    some = [Prospect(get_cell("a"), 1.0, 10), Prospect(get_cell("b"), 2.0, 10)]
    assert list(plan_probes(some, PLENTY, LOT)) == [get_cell("b")]


def test_what_is_cheaper_comes_first() -> None:
    some = [Prospect(get_cell("a"), 1.0, 20), Prospect(get_cell("b"), 1.0, 10)]
    assert list(plan_probes(some, LOT * 20, 10 * LOT)) == [get_cell("b")]


def test_what_is_less_certain_gets_more() -> None:
    some = [Prospect(get_cell("a"), 1.0, 10, spread=0.1), Prospect(get_cell("b"), 1.0, 10, spread=1.0)]
    plan = plan_probes(some, PLENTY, 3 * LOT)
    assert plan[get_cell("b")] > plan[get_cell("a")] >= LOT
    some = [Prospect(get_cell("a"), 1.0, 10, known=300), Prospect(get_cell("b"), 1.0, 10)]
    plan = plan_probes(some, PLENTY, 3 * LOT)
    assert plan[get_cell("b")] > plan[get_cell("a")] >= LOT


def test_a_dear_lot_that_does_not_fit_leaves_room_for_a_cheap_one() -> None:
    some = [Prospect(get_cell("a"), 1_000.0, 100), Prospect(get_cell("b"), 1.0, 1)]
    assert next(iter(plan_probes(some, 50 * LOT, 10 * LOT))) == get_cell("b")


def test_nobody_asks_so_nothing_is_measured() -> None:
    assert plan_probes([Prospect(get_cell("a"), 0.0, 1)], PLENTY, 100) == {}


def test_the_order_holds_every_probe_once_and_spreads_each_cell() -> None:
    counts = {get_cell("a"): 20, get_cell("b"): 40}
    order = order_probes(counts, b"seed")
    assert Counter(order) == Counter((cell, index) for cell, count in counts.items() for index in range(count))
    assert [index for cell, index in order if cell == get_cell("a")] == list(range(20))
    first = Counter(cell for cell, _ in order[:30])
    assert 8 <= first[get_cell("a")] <= 12
    assert order != order_probes(counts, b"other")
    assert order == order_probes(counts, b"seed")


def test_who_is_looked_at_first_follows_demand_and_the_beacon() -> None:
    some = [Prospect(get_cell("a"), 1.0, 1), Prospect(get_cell("b"), 3.0, 1), Prospect(get_cell("c"), 0.0, 1)]
    orders = [plan_cells(some, b"%d" % beacon) for beacon in range(400)]
    assert all(sorted(order, key=str) == [get_cell("a"), get_cell("b")] for order in orders)
    share = sum(order[0] == get_cell("b") for order in orders) / len(orders)
    assert 0.68 < share < 0.82
