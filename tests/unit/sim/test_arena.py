"""The arena: small runs in which each attacker meets what stops it; and that its world is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from providerrank.rules.consistency import find_forecast_fault, find_record_fault, find_signal_fault
from providerrank.sim.arena.arena import Arena, Result
from providerrank.sim.arena.attackers import ATTACKERS
from providerrank.sim.arena.figures import compute_figures, compute_promises, write_forecasts, write_signals
from providerrank.sim.arena.routing import Routing, compute_regret, compute_truth, count_swaps
from providerrank.sim.arena.world import World
from providerrank.sim.gate_world import EPOCH

CELLS = 60


def play(*attackers: str, epochs: int = 8, miners: int = 16, seed: int = 3) -> Result:
    return Arena(epochs=epochs, miners=miners, cells=CELLS, seed=seed, attackers=attackers).run()


@pytest.fixture(scope="module")
def caught() -> Result:
    return play(
        "fabricator", "fabricator-plausible", "fabricator-4-of-5", "understater", "copycat-revealed",
        "copycat-committed", "re-stamper", "dishonest-validator", miners=20,
    )  # fmt: skip


@pytest.mark.parametrize("at", range(8))
def test_whom_the_gate_or_the_chain_stops_earns_nothing(caught: Result, at: int) -> None:
    tally = caught.tallies[at]
    assert caught.get_relative(tally) <= tally.bound == 0.02, tally.kind
    if tally.kind != "dishonest-validator":
        assert tally.caught is not None
        assert tally.caught <= 3
    assert all(moved == 0.0 for moved in tally.swaps), "and moves no ranking"


def test_honest_miners_are_paid_and_what_they_say_ranks_well(caught: Result) -> None:
    assert caught.honest_least > 0.0
    assert caught.honest_trips <= 1
    assert caught.regret < caught.regret_uniform / 4
    assert caught.dishonest_dividends < 0.05


def test_who_measures_nothing_and_passes_the_gate_is_paid_nothing_where_there_is_news() -> None:
    names = ("fabricator-perfect", "forecast-hedger", "forecast-gambler", "null-inflator", "overstater")
    result = Arena(epochs=8, miners=24, cells=120, seed=5, attackers=names).run()
    for tally in result.tallies:
        # Before the first news those who watched are paid alike: one such epoch is an eighth of this run.
        assert result.get_relative(tally) <= tally.bound + result.standby, tally.kind
        assert tally.caught is None, "no gate finds them"


def test_five_percent_of_leaves_that_cannot_be_shown_are_found_nearly_always() -> None:
    result = play("fabricator-5-percent", epochs=12)
    (tally,) = result.tallies
    assert tally.stopped >= 10
    assert result.get_relative(tally) <= 0.1, "an epoch that slipped through pays a fifth of an average"


def test_a_corner_of_the_market_is_not_paid() -> None:
    result = play("cherry-picker")
    assert result.get_relative(result.tallies[0]) == 0.0


def test_one_miner_behind_many_hotkeys_earns_no_more_than_one() -> None:
    result = play("sybil-copies", "sybil-splitter", miners=20)
    for tally in result.tallies:
        assert result.get_of_twin(tally) <= 1.1, tally.kind
        assert result.is_bounded(tally)
    assert result.tallies[0].caught == 1


def test_the_same_seed_is_the_same_run() -> None:
    one, other = (play("understater", epochs=2, miners=8, seed=9) for _ in range(2))
    assert (one.honest_mean, one.regret, one.replays) == (other.honest_mean, other.regret, other.replays)


def test_too_few_honest_miners_are_refused() -> None:
    with pytest.raises(ValueError, match="ask for at least"):
        Arena(epochs=1, miners=10, cells=20)


def test_every_attacker_says_why_it_fails() -> None:
    names = [name for name, _ in ATTACKERS]
    assert len(set(names)) == len(names)
    assert all(kind.why and kind.bound > 0 for _, kind in ATTACKERS)


def test_what_players_submit_is_well_formed() -> None:
    names = [name for name, _ in ATTACKERS if name not in {"copycat-committed", "dishonest-validator"}]
    arena = Arena(epochs=1, miners=40, cells=40, seed=1, attackers=names)
    for validator in arena.validators:
        validator.calibrate()
    bundles, _ = arena._play(0)
    for bundle in bundles:
        assert not any(map(find_forecast_fault, bundle.forecasts)), bundle.hotkey
        assert not any(map(find_signal_fault, bundle.signals)), bundle.hotkey
        for record in bundle.records[::97]:
            faults = find_record_fault(record)
            assert faults is None or "64 lower-case hex" in faults, (bundle.hotkey, faults)


# ---- the world -------------------------------------------------------------------------------------------------


def make_world(**settings: float) -> World:
    return World(CELLS, 4, np.random.default_rng(1), **settings)  # type: ignore[arg-type]  # by name


def test_figures_of_many_draws_are_the_endpoints_own() -> None:
    world = make_world()
    at = np.full((CELLS, 4_000), 100.0)
    draws = world.draw(at, np.zeros_like(at))
    figures = compute_figures(draws)
    level, failing = world.get_state(at[:, :1])
    np.testing.assert_allclose(figures[:, 2] - np.log(1e6), level[:, 0], atol=0.08)
    np.testing.assert_allclose(1 - figures[:, 12], failing[:, 0], atol=0.03)
    forecasts = write_forecasts(figures, world.cells, range(CELLS))
    assert not any(map(find_forecast_fault, forecasts))
    assert not any(map(find_signal_fault, write_signals(compute_promises(figures, world), world, range(CELLS))))


def test_what_is_taken_for_a_probe_is_served_better_and_traffic_is_not() -> None:
    world = make_world(partial=2, spotted=1.0)
    at = np.full((CELLS, 2_000), 100.0)
    probed = compute_figures(world.draw(at, np.zeros_like(at)))
    real = compute_figures(world.draw(at, np.zeros_like(at), is_probe=False))
    partial = world.partial[world.owner]
    np.testing.assert_allclose((real - probed)[partial, 2], np.log(2), atol=0.15)
    np.testing.assert_allclose((real - probed)[~partial, 2], 0.0, atol=0.15)


def test_regret_and_swaps_of_known_rankings() -> None:
    world = make_world()
    routing = Routing.group(world)
    truth = compute_truth(world, EPOCH)
    assert ((truth >= 0) & (truth <= 1)).all()
    best, uniform = compute_regret(truth, truth, routing)
    assert best == 0.0
    assert uniform > 0.0
    assert compute_regret(-truth, truth, routing)[0] > uniform, "the worst is worse than chance"
    assert count_swaps(truth, truth, routing) == 0.0
    assert count_swaps(truth, -truth, routing) == 1.0
