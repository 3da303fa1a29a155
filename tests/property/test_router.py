"""Whatever happens, a plan offers each endpoint at most once, nobody it should not, and leaves nobody out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from providerrank.rules.ask import EmptyPool, Preferences
from providerrank.rules.catalog import ModelRules
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS
from tests.unit.rules.market import Market, S, endpoint

NAMES = "abcde"
names = st.sampled_from(NAMES)
some = st.lists(names, max_size=3).map(tuple)
events = st.lists(
    st.one_of(
        st.tuples(st.just("see"), names, st.sampled_from(Outcome), st.sampled_from([None, "s", "t"])),
        st.tuples(st.just("cool"), names, st.integers(1, 60)),
        st.tuples(st.just("wait"), st.integers(0, 200)),
        st.tuples(st.just("acquire"), names),
        st.tuples(st.just("walk"), st.sampled_from([None, "s", "t"])),
    ),
    max_size=30,
)
preferences = st.none() | st.builds(
    Preferences,
    order=some,
    only=some,
    ignore=some,
    sort=st.sampled_from([None, "price", "latency", "throughput"]),
    allow_fallbacks=st.booleans(),
)


def play(market: Market, script: list[tuple[object, ...]]) -> None:
    for event in script:
        match event:
            case ("see", str(name), Outcome() as outcome, session):
                market.see(name, outcome, session=session if isinstance(session, str) else None, ms=400)
            case ("cool", str(name), int(seconds)):
                market.router.cool(f"{name}/m", market.now + seconds * S)
            case ("wait", int(seconds)):
                market.wait(seconds)
            case ("acquire", str(name)):
                market.router.acquire(f"{name}/m")
            case _:
                market.walk(session=event[1])


@settings(deadline=None)
@given(events, preferences, st.sampled_from([None, "s"]), st.sampled_from([0.0, 0.5]), st.sampled_from([(), ("e/m",)]))
def test_a_plan_offers_each_once_and_leaves_nobody_out(
    script: list[tuple[object, ...]],
    wish: Preferences | None,
    session: str | None,
    exploration: float,
    pin: tuple[str, ...],
) -> None:
    endpoints = [endpoint(name, 0.3 + 0.25 * i) for i, name in enumerate(NAMES)]
    market = Market(*endpoints, models=(ModelRules("m", pin=pin),), exploration=exploration)
    play(market, script)
    now = market.now
    states = market.router._endpoints
    wish_or_none = wish or Preferences()
    allowed = {n for n in NAMES if (not wish_or_none.only or n in wish_or_none.only) and n not in wish_or_none.ignore}
    try:
        plan = market.plan(session=session, preferences=wish)
    except EmptyPool:
        assert not allowed or (wish_or_none.order and not wish_or_none.allow_fallbacks)
        return
    offered: list[str] = []
    while (chosen := plan.next(now)) is not None:
        assert states[chosen.id].get_belief(now, PARAMS) <= PARAMS.belief_out
        offered.append(chosen.provider)
    while (chosen := plan.last_resort(now)) is not None:
        offered.append(chosen.provider)
    assert len(set(offered)) == len(offered)
    assert set(offered) <= allowed
    assert all(states[f"{name}/m"].cooling_until_us <= now for name in offered)
    assert not plan.more(now)
    usable = {name for name in allowed if states[f"{name}/m"].cooling_until_us <= now}
    if wish_or_none.allow_fallbacks:
        assert set(offered) == usable
    elif not wish_or_none.order:
        assert len(offered) == min(1, len(usable))


@settings(deadline=None)
@given(events)
def test_the_same_history_and_seed_give_the_same_walk(script: list[tuple[object, ...]]) -> None:
    walks = []
    for _ in range(2):
        market = Market(*(endpoint(name, 1.0) for name in NAMES), exploration=0.5, seed=7)
        play(market, script)
        walks.append(market.walk())
    assert walks[0] == walks[1]


@settings(deadline=None)
@given(events)
def test_everyone_comes_back_in_the_end(script: list[tuple[object, ...]]) -> None:
    market = Market(*(endpoint(name, 0.3 + 0.25 * i) for i, name in enumerate(NAMES)))
    play(market, script)
    market.wait(1_200)
    assert sorted(market.walk()) == list(NAMES)
