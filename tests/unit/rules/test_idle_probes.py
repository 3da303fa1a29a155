"""Whose turn it is to be probed, over minutes of any traffic, outages and slow answers."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providerrank.rules.budget import DAY_US, ROW_WORDS, Budget, Hold, reserve, settle
from providerrank.rules.cells import PROBE, Price
from providerrank.rules.idle_probes import (
    AHEAD_US,
    AT_ONCE_LEAST,
    AT_ONCE_MOST,
    LOOKS,
    OUT_US,
    SPREAD,
    SUSPECT_US,
    ProbeRules,
    Rest,
    Round,
    compute_at_once,
    compute_due_us,
    compute_hold_nusd,
    compute_wait_us,
    is_free,
)
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS, SECOND_US
from tests.unit.rules.market import Market, S, T, endpoint

MINUTE = ProbeRules()
IDLE = Rest(PARAMS.belief_floor, 0, 0, 0, 0)
PAID = ProbeRules(paid=True)


def test_the_worse_it_stands_the_sooner_it_is_asked() -> None:
    assert compute_wait_us(0.01, 60 * S) == 60 * S
    assert compute_wait_us(0.2, 60 * S) == SUSPECT_US
    assert compute_wait_us(0.8, 60 * S) == OUT_US
    assert compute_wait_us(0.8, 2 * S) == compute_wait_us(0.2, 2 * S) == 2 * S, "never more seldom than the healthy"
    # An endpoint that is out is asked before any client is: from the strongest belief it is due after 20 s.
    assert OUT_US * (1 + SPREAD) < 20 * S


def test_what_it_waits_for() -> None:
    seen = Rest(0.01, T, 0, 0, 0)
    assert compute_due_us(seen, 0, 0, 0.0, 60 * S) == T + 60 * S
    assert compute_due_us(seen, 0, 0, 1.0, 60 * S) == T + 75 * S
    assert compute_due_us(seen, T + 9 * S, 0, 0.0, 60 * S) == T + 69 * S
    assert compute_due_us(seen, 0, T + 8 * S, 0.0, 60 * S) == T + 68 * S
    out = Rest(0.7, T, 0, 0, 0)
    assert compute_due_us(out, 0, T + 8 * S, 0.0, 60 * S) == T + OUT_US, "that it began well is no news of it now"
    assert compute_due_us(Rest(0.7, T, 0, T + 40 * S, 0), 0, 0, 0.0, 60 * S) == T + 40 * S
    assert compute_due_us(Rest(0.7, T, 0, 0, T + 40 * S), 0, 0, 0.0, 60 * S) == T + 40 * S - AHEAD_US
    assert compute_due_us(Rest(0.7, T, 1, 0, 0), 0, 0, 0.0, 60 * S) is None


def test_how_many_at_once() -> None:
    assert compute_at_once(3, 60 * S) == AT_ONCE_LEAST
    assert compute_at_once(600, 60 * S) == 20
    assert compute_at_once(50_000, 60 * S) == AT_ONCE_MOST


def test_who_may_be_probed() -> None:
    free, paid = endpoint("free", 0.0), endpoint("paid")
    assert is_free(free.price)
    assert not is_free(Price(0, 0, 1))
    assert [MINUTE.allows(free), MINUTE.allows(paid)] == [True, False]
    assert [PAID.allows(free), PAID.allows(paid)] == [True, True]
    assert [ProbeRules(free=False, paid=True).allows(free), PAID.allows(paid)] == [False, True]
    only = ProbeRules(paid=True, only=frozenset({"paid/m"}))
    assert [only.allows(free), only.allows(paid)] == [False, True]


def test_what_is_set_aside() -> None:
    assert compute_hold_nusd(Price(1_000_000_000, 2_000_000_000), 1) == 64 * 1_000 + 17 * 2_000
    assert compute_hold_nusd(Price(1_000_000_000, 2_000_000_000), 1, 500_000) == 500_000


# ---- a round ---------------------------------------------------------------------------------------------------------


def run_round(round_: Round, rests: dict[str, Rest], now_us: int) -> list[str]:
    return round_.choose(now_us, lambda name, _: rests.get(name))


def begin(*names: str, rules: ProbeRules | None = MINUTE) -> Round:
    round_ = Round(Random(1))
    round_.take(rules, [endpoint(name, 0.0) for name in names], T)
    return round_


def test_nobody_is_probed_before_an_interval_is_over_and_then_each_once() -> None:
    round_ = begin("a", "b")
    rests = {"a/m": IDLE, "b/m": IDLE}
    assert run_round(round_, rests, T + 60 * S - 1) == []
    assert sorted(run_round(round_, rests, T + 75 * S)) == ["a/m", "b/m"]
    assert round_.live == 2
    assert run_round(round_, rests, T + 500 * S) == [], "both are under way"
    round_.end("a/m")
    assert run_round(round_, rests, T + 500 * S) == ["a/m"]


def test_those_without_room_wait_in_the_order_of_their_coming() -> None:
    names = [str(number) for number in range(AT_ONCE_LEAST + 3)]
    round_ = begin(*names)
    rests = {f"{name}/m": IDLE for name in names}
    first = run_round(round_, rests, T + 75 * S)
    assert len(first) == AT_ONCE_LEAST
    last = [f"{name}/m" for name in names if f"{name}/m" not in first]
    rests[last[0]] = Rest(0.01, T + 76 * S, 0, 0, 0)
    for name in first:
        round_.end(name)
    assert sorted(run_round(round_, rests, T + 76 * S)) == sorted(last[1:]), "traffic came to one meanwhile"
    assert round_.live == 2


def test_rules_change_while_a_probe_is_under_way() -> None:
    round_ = begin("a", "b", "c")
    rests = {f"{name}/m": IDLE for name in "abc"}
    assert len(run_round(round_, rests, T + 75 * S)) == 3
    round_.end("c/m")
    round_.take(MINUTE, [endpoint("b", 0.0), endpoint("c", 0.0)], T + 75 * S)
    assert round_.live == 2
    round_.end("a/m")
    assert run_round(round_, rests, T + 134 * S) == [], "c was asked a minute ago, b is under way"
    round_.take(None, [endpoint("b", 0.0)], T + 76 * S)
    round_.end("b/m")
    assert round_.live == 0
    assert run_round(round_, rests, T + 900 * S) == []


def test_who_left_the_catalog_is_not_probed() -> None:
    assert run_round(begin("a"), {}, T + 90 * S) == []


def test_those_who_waited_and_are_not_wanted_any_more_do_not_wait_on() -> None:
    names = [str(number) for number in range(AT_ONCE_LEAST + 2)]
    round_ = begin(*names)
    rests = {f"{name}/m": IDLE for name in names}
    first = run_round(round_, rests, T + 75 * S)
    round_.take(MINUTE, [endpoint(name.partition("/")[0], 0.0) for name in first], T + 75 * S)
    for name in first:
        round_.end(name)
    assert run_round(round_, rests, T + 80 * S) == []


def test_a_large_market_is_looked_at_in_parts() -> None:
    names = [str(number) for number in range(2 * LOOKS)]
    round_ = begin(*names)
    looked: list[str] = []

    def get_rest(name: str, now_us: int) -> Rest | None:
        looked.append(name)
        return Rest(0.01, now_us, 0, 0, 0)

    for _ in range(2):
        round_.choose(T + 75 * S, get_rest)
    assert len(looked) == len(set(looked)) == 2 * LOOKS


@dataclass
class Sim:
    """One endpoint of a simulated stretch of time."""

    traffic: list[int]
    """Seconds at which a request of a client's ends."""
    out: tuple[int, int]
    """From when until when it fails, in seconds."""
    probe_s: int


SIMS = st.lists(
    st.builds(
        Sim,
        st.lists(st.integers(0, 300), max_size=12).map(sorted),
        st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda pair: (min(pair), max(pair))),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=7,
)


@given(SIMS, st.integers(2, 60), st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=40)
def test_any_five_minutes(sims: list[Sim], interval_s: int, seed: int) -> None:
    names = [f"e{at}" for at in range(len(sims))]
    market = Market(*(endpoint(name, 0.0) for name in names))
    router = market.router
    round_ = Round(Random(seed))
    rules = ProbeRules(interval_us=interval_s * S)
    round_.take(rules, [endpoint(name, 0.0) for name in names], T)
    heard = dict.fromkeys(names, 0)
    spoken: set[str] = set()
    asked = dict.fromkeys(names, -1_000)
    live: dict[str, int] = {}
    longest = max(sim.probe_s for sim in sims) + 1
    # All may be due at once, and share the places.
    queue_s = longest * -(-len(sims) // AT_ONCE_LEAST)

    def see(name: str, second: int, task: str) -> None:
        sim = sims[names.index(name)]
        outcome = Outcome.FAILURE if sim.out[0] <= second < sim.out[1] else Outcome.SUCCESS
        market.now = T + second * S
        market.see(name, outcome, gap_s=0.0, task=task)
        heard[name] = second
        spoken.add(name)

    for second in range(300):
        for name, sim in zip(names, sims, strict=True):
            for _ in range(sim.traffic.count(second)):
                see(name, second, "chat")
        for name, ends in list(live.items()):
            if ends <= second:
                del live[name]
                router.release(f"{name}/m")
                see(name, second, PROBE)
                round_.end(f"{name}/m")
        now = T + second * S
        before = {name: router.get_rest(f"{name}/m", now) for name in names}
        for chosen in round_.choose(now, router.get_rest):
            name = chosen.partition("/")[0]
            assert name not in live, "one at a time"
            rest = before[name]
            assert rest is not None
            quiet_s = second - max(heard[name], asked[name])
            assert quiet_s * S >= compute_wait_us(rest.belief, rules.interval_us) or name not in spoken
            assert second >= interval_s or name in spoken, "none before the first interval is over"
            live[name] = second + sims[names.index(name)].probe_s
            asked[name] = second
            router.acquire(chosen)
        assert len(live) <= round_.at_once == compute_at_once(len(sims), rules.interval_us)
        assert round_.live == len(live)
        for name in names:
            last = max(heard[name], asked[name])
            if name not in live:
                assert second - last <= interval_s * (1 + SPREAD) + queue_s + 1, "every idle one in time"


@given(
    st.lists(
        st.tuples(st.integers(0, DAY_US // 3), st.integers(0, 40), st.integers(0, 100), st.booleans()), max_size=60
    )
)
def test_a_day_never_costs_more_than_its_limit(steps: list[tuple[int, int, int, bool]]) -> None:
    """Whatever probes cost, as long as none costs more than was set aside; and those of a crash stay charged."""
    row = [0] * ROW_WORDS
    limit = Budget(spend_per_day_nusd=100)
    now, live, spent = T, list[tuple[Hold, int, int]](), dict[int, int]()
    for wait_us, cost, share, crashes in steps:
        now += wait_us
        result = reserve(row, 0, limit, now, 65, cost)
        if isinstance(result, Hold):
            live.append((result, now // DAY_US, cost * share // 100))
        if live and not crashes:
            hold, day, used = live.pop(0)
            settle(row, 0, hold, now, 1, 1, used)
            spent[day] = spent.get(day, 0) + used
    for _, day, used in live:
        spent[day] = spent.get(day, 0) + used
    assert all(total <= 100 for total in spent.values())


# ---- what a probe teaches --------------------------------------------------------------------------------------------


def get_row(market: Market, name: str = "a") -> tuple[float, float]:
    [row] = [row for row in market.router.ranking("m", market.now).rows if row.endpoint.provider == name]
    return row.ttft_us, row.success


def test_where_there_is_nothing_else_a_probe_speaks_for_the_endpoint() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    market.see("a", task=PROBE, times=40, ms=50)
    ttft_us, success = get_row(market)
    assert ttft_us == pytest.approx(50_000, rel=0.1)
    assert success > 0.99


def test_against_traffic_of_its_own_a_probe_says_little() -> None:
    rows = []
    for probes in (0, 400):
        market = Market(endpoint("a"), endpoint("b"))
        market.see("a", task=PROBE, times=probes, ms=50)
        for _ in range(15):
            market.see("a", times=2, ms=2_000, gap_s=30)
            market.see("a", Outcome.FAILURE, ms=None, gap_s=30)
        market.now += 3_600 * SECOND_US
        rows.append(get_row(market))
    (ttft_us, success), (probed_ttft_us, probed_success) = rows
    assert success < 0.9
    assert abs(probed_success - success) < 0.05
    assert 0.6 * ttft_us < probed_ttft_us <= ttft_us


def test_a_probe_brings_back_who_is_out() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    market.see("a", Outcome.FAILURE, times=4, ms=None)
    rest = market.router.get_rest("a/m", market.now)
    assert rest is not None
    assert rest.belief > PARAMS.belief_out
    assert rest.seen_us == market.now
    market.see("a", task=PROBE, times=2)
    rest = market.router.get_rest("a/m", market.now)
    assert rest is not None
    assert rest.belief < 0.1


def test_nobody_can_ask_for_the_task_of_probes() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    assert market.router.ranking("m", market.now, task=PROBE).task == "chat"


def test_an_endpoint_that_is_not_there_has_no_rest() -> None:
    assert Market(endpoint("a")).router.get_rest("b/m", T) is None
