"""The epoch against the figures the chain's own tests print and assert: equal to the last fixed-point bit.

A printed figure has ten decimals, finer than 2^-32: so it names one fixed-point number, and that one is expected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules import fixed, yuma

VECTORS = Path(__file__).parents[2] / "vectors" / "yuma"
MATRICES = ("weights", "clipped", "bonds", "bonds_ema", "bonds_kept")
VECTOR_STAGES = ("consensus", "validator_trust", "incentive", "dividends", "emission")


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return loaded


def to_bits(printed: float) -> int:
    return round(printed * fixed.ONE)


def make_rows(listed: list[list[list[int]]]) -> dict[int, list[tuple[int, int]]]:
    return {uid: [(j, value) for j, value in row] for uid, row in enumerate(listed) if row}


def check_stages(epoch: yuma.Epoch, expected: Mapping[str, Any], label: str) -> None:
    n = len(epoch.incentive)
    for name in VECTOR_STAGES:
        if name in expected:
            got = [int(x) for x in getattr(epoch.stages, name)]
            assert got == [to_bits(x) for x in expected[name]], (label, name)
    for name in MATRICES:
        if name in expected:
            dense = np.zeros((n, n), np.int64)
            dense[list(epoch.stages.rows)] = getattr(epoch.stages, name)
            for uid, row in enumerate(expected[name]):
                printed = {j: to_bits(x) for j, x in row}
                assert {j: int(x) for j, x in enumerate(dense[uid]) if x or j in printed} == printed, (label, name, uid)
    if "emission_units" in expected:
        assert list(epoch.emission) == expected["emission_units"], label
    for uid, value in expected.get("dividends_u16", ()):
        assert epoch.dividends[uid] == value, label
    for uid, j, value in expected.get("bonds_u16", ()):
        assert dict(epoch.bonds[uid])[j] == value, label


@pytest.mark.parametrize("name", ["bonds", "outdated_weights", "active_stake", "zero_weights"])
def test_the_chains_own_scenarios_bit_by_bit(name: str) -> None:
    scenario = load(name)
    settings = yuma.Settings(**scenario["settings"])
    bonds: Mapping[int, yuma.Row] = {}
    for number, step in enumerate(scenario["epochs"]):
        subnet = yuma.Subnet(
            block=step["block"],
            stake=step.get("stake") or scenario["stake"],
            last_update=step["last_update"],
            registered_at=step["registered_at"],
            permits=step.get("permits") or scenario["permits"],
            weights=make_rows(step["weights"]),
            bonds=bonds,
        )
        epoch = yuma.compute_epoch(subnet, scenario["emission"], settings)
        check_stages(epoch, step["expected"], f"{name}, epoch {number}")
        bonds = epoch.bonds


@pytest.mark.parametrize("case", load("yuma3")["cases"], ids=lambda case: str(case["name"]))
def test_the_chains_yuma_3_scenarios(case: dict[str, Any]) -> None:
    scenario = load("yuma3")
    settings = yuma.Settings(**scenario["settings"], liquid_alpha=case["liquid_alpha"])
    bonds: Mapping[int, yuma.Row] = {}
    for number, step in enumerate(case["epochs"]):
        n = case["n"]
        subnet = yuma.Subnet(
            block=number + 2,
            stake=case["stake"],
            last_update=[number + 1] * 3 + [0] * (n - 3),
            registered_at=[0] * n,
            permits=[True] * 3 + [False] * (n - 3),
            weights=make_rows(step["weights"]),
            bonds=bonds,
        )
        epoch = yuma.compute_epoch(subnet, scenario["emission"], settings)
        label = f"{case['name']}, epoch {number}"
        assert [x / 65535 for x in epoch.dividends] == pytest.approx(step["expected"]["dividends"], abs=1e-3), label
        for uid, expected in enumerate(step["expected"]["bonds"]):
            held = dict(epoch.bonds.get(uid, ()))
            got = [held.get(j, 0) / 65535 for j in range(3, n)]
            assert got == pytest.approx(expected, abs=1e-3), label
        bonds = epoch.bonds


def make_subnet(**changes: Any) -> yuma.Subnet:
    """Two validators of equal stake (uids 0, 1), two miners (2, 3); uid 0 is even-handed, uid 1 favours uid 2."""
    values: dict[str, Any] = {
        "block": 1_000,
        "stake": [50, 50, 0, 0],
        "last_update": [990, 990, 0, 0],
        "registered_at": [0, 0, 0, 0],
        "permits": [True, True, False, False],
        "weights": {0: [(2, 1), (3, 1)], 1: [(2, 3), (3, 1)]},
    }
    return yuma.Subnet(**values | changes)


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one entry per uid"):
        yuma.compute_epoch(make_subnet(permits=[True]), 1)


def test_weights_are_capped_at_what_the_majority_grants() -> None:
    epoch = yuma.compute_epoch(make_subnet(weights={0: [(2, 1), (3, 1)], 1: [(2, 65535)]}, stake=[60, 40, 0, 0]), 10**9)
    assert epoch.consensus == (0, 0, 32767, 32767)
    assert epoch.validator_trust == (65535, 32767, 0, 0)
    assert epoch.dividends[0] > 0.7 * 65535, "who overweighted a miner, and left out another, earns less than its stake"


def test_a_minority_moves_nothing_alone() -> None:
    epoch = yuma.compute_epoch(make_subnet(weights={0: [(2, 1)], 1: [(3, 1)]}, stake=[60, 40, 0, 0]), 10**9)
    assert epoch.incentive == (0, 0, 65535, 0)
    assert epoch.dividends == (65535, 0, 0, 0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"permits": [False, False, False, False]}, "no permits"),
        ({"last_update": [0, 0, 0, 0], "block": 9_999}, "inactive"),
        ({"weights": {0: [(0, 1)], 1: [(1, 1)]}}, "self-weights only"),
        ({"registered_at": [0, 0, 990, 991]}, "the miners registered since"),
        ({"commit_blocks": [980, 980, None, None], "registered_at": [0, 0, 985, 985]}, "since the commitment"),
        ({"stake": [0, 0, 0, 0]}, "no stake"),
        ({"weights": {0: [(9, 1)], 1: [(4, 1)]}}, "no such uid"),
    ],
)
def test_weights_that_do_not_count(changes: dict[str, Any], why: str) -> None:
    epoch = yuma.compute_epoch(make_subnet(**changes), 10**9)
    assert epoch.incentive == (0, 0, 0, 0), why
    assert epoch.server_emission == (0, 0, 0, 0), why
    share = 0 if why == "no stake" else 500_000_000
    assert epoch.validator_emission == (share, share, 0, 0), f"{why}: then stake is paid, so that emission is not lost"


def test_commitments_made_after_registration_count() -> None:
    changes = {"commit_blocks": [985, None, None, None], "registered_at": [0, 0, 985, 0]}
    assert yuma.compute_epoch(make_subnet(**changes), 10**9).incentive[2] > 0


def test_the_owner_keeps_permit_self_weight_and_stake_below_the_minimum() -> None:
    subnet = make_subnet(
        stake=[40, 60, 0, 0], owner_uid=0, permits=[False, False, False, False], weights={0: [(0, 1), (2, 1)]}
    )
    epoch = yuma.compute_epoch(subnet, 10**9, yuma.Settings(min_stake=100, max_validators=0))
    assert epoch.incentive == (32767, 0, 32767, 0)
    assert epoch.permits == (True, False, False, False)
    assert epoch.stake_weight == (65535, 0, 0, 0)


def test_permits_go_to_the_greatest_stakes_of_equals_to_the_later() -> None:
    bits = np.array([3, 0, 5, 3, 0])
    assert yuma.compute_permits(bits, 2, None) == (False, False, True, True, False)
    assert yuma.compute_permits(bits, 3, None) == (True, False, True, True, False)
    assert yuma.compute_permits(bits, 64, 1) == (True, True, True, True, False)
    assert yuma.compute_permits(bits, 5, None) == (True, False, True, True, False)


def test_bonds_grow_by_a_tenth_and_leave_with_the_miner_or_the_permit() -> None:
    first = yuma.compute_epoch(make_subnet(bonds={0: [(2, 65535), (9, 7)]}), 10**9)
    stages = first.stages
    assert stages.bonds_ema[1, 2] < stages.bonds_ema[0, 2], "an older bond still counts most"
    grown = 0.1 * 0.75 / (0.5 + 0.75)  # a tenth of its share of what both put on the miner
    assert stages.bonds_ema[1, 2] / fixed.ONE == pytest.approx(grown, abs=1e-6)
    reregistered = make_subnet(bonds={0: [(2, 65535)]}, registered_at=[0, 0, 900, 0])
    assert yuma.compute_epoch(reregistered, 10**9).stages.bonds[0, 2] == 0
    stepped = make_subnet(bonds={0: [(2, 65535)]}, registered_at=[0, 0, 900, 0], last_step_block=900)
    assert yuma.compute_epoch(stepped, 10**9).stages.bonds[0, 2] == fixed.ONE
    lapsed = make_subnet(bonds={2: [(3, 65535)]})
    assert 2 not in yuma.compute_epoch(lapsed, 10**9).bonds


def test_bonds_penalty_between_none_and_all() -> None:
    weights = {0: [(2, 1), (3, 1)], 1: [(2, 65535), (3, 0)]}
    shares = []
    for penalty in (0, 32767, 65535):
        settings = yuma.Settings(bonds_penalty_u16=penalty)
        subnet = make_subnet(weights=weights, stake=[60, 40, 0, 0])
        shares.append(int(yuma.compute_epoch(subnet, 10**9, settings).stages.bonds_ema[1, 2]))
    assert shares[0] > shares[1] > shares[2]


@pytest.mark.parametrize(("penalty", "kept"), [(0, True), (32767, True), (65535, False)])
def test_liquid_bonds_go_at_once_where_the_row_no_longer_names_the_miner(penalty: int, *, kept: bool) -> None:
    # uid 1 alone weights uid 3: consensus is zero there, and clipping removes the entry entirely.
    subnet = make_subnet(
        stake=[60, 40, 0, 0], weights={0: [(2, 1)], 1: [(2, 1), (3, 1)]}, bonds={0: [(3, 9000)], 1: [(3, 9000)]}
    )
    settings = yuma.Settings(yuma3=True, liquid_alpha=True, bonds_penalty_u16=penalty)
    bonds = yuma.compute_epoch(subnet, 10**9, settings).bonds
    assert 3 not in dict(bonds[0])
    assert (3 in dict(bonds[1])) is kept


def test_liquid_alpha_runs_from_low_to_high_and_may_fall_instead() -> None:
    bought, bonds = np.array([[fixed.ONE, fixed.ONE // 2, 0]]), np.array([[0, 0, fixed.ONE]])
    consensus = np.array([0, fixed.ONE // 2, 0])
    low, high = (fixed.from_proportion(u16, 65535) for u16 in (45_875, 58_982))
    rising = yuma.compute_liquid_alpha(bought, bonds, consensus, yuma.Settings())[0]
    assert low < rising[1] < low + (high - low) // 50, "at consensus: the slow end"
    assert high - (high - low) // 50 < rising[0] == rising[2] < high, (
        "far ahead of it, or behind its bond: the fast end"
    )
    falling = yuma.compute_liquid_alpha(bought, bonds, consensus, yuma.Settings(alpha_steepness=-1_001))[0]
    assert falling[1] > falling[0]


def test_alpha_is_fixed_while_there_is_no_consensus() -> None:
    settings = yuma.Settings(yuma3=True, liquid_alpha=True)
    subnet = make_subnet(weights={}, bonds={0: [(2, 65535)]})
    assert yuma.compute_epoch(subnet, 10**9, settings).bonds == {0: ((2, 58981),)}, "nine tenths, rounded down"


stakes = st.lists(st.integers(0, 10**15), min_size=2, max_size=6)


@st.composite
def subnets(draw: st.DrawFn) -> yuma.Subnet:
    stake = draw(stakes)
    n = len(stake)
    uids = st.integers(0, n - 1)
    row = st.dictionaries(uids, st.integers(0, 65535), max_size=n).map(lambda d: list(d.items()))
    return yuma.Subnet(
        block=500,
        stake=stake,
        last_update=draw(st.lists(st.integers(0, 500), min_size=n, max_size=n)),
        registered_at=draw(st.lists(st.integers(0, 500), min_size=n, max_size=n)),
        permits=draw(st.lists(st.booleans(), min_size=n, max_size=n)),
        weights=draw(st.dictionaries(uids, row, max_size=n)),
        bonds=draw(st.dictionaries(uids, row, max_size=n)),
        owner_uid=draw(st.none() | uids),
    )


@given(subnet=subnets(), emission=st.integers(0, 10**18), yuma3=st.booleans(), liquid=st.booleans())
def test_nothing_is_paid_twice_and_every_bond_is_a_share(
    subnet: yuma.Subnet, emission: int, *, yuma3: bool, liquid: bool
) -> None:
    settings = yuma.Settings(yuma3=yuma3, liquid_alpha=liquid, activity_cutoff_blocks=300)
    epoch = yuma.compute_epoch(subnet, emission, settings)
    n = len(subnet.stake)
    assert 0 <= sum(epoch.server_emission) + sum(epoch.validator_emission) <= emission
    assert sum(epoch.emission) <= emission
    if sum(subnet.stake):
        assert sum(epoch.emission) >= emission - (emission * 3 * n >> 32) - 3 * n, "only rounding is lost"
    for vector in (epoch.incentive, epoch.dividends, epoch.consensus, epoch.validator_trust, epoch.stake_weight):
        assert all(0 <= x <= 65535 for x in vector)
    for uid, row in epoch.bonds.items():
        assert epoch.permits[uid]
        assert all(0 <= bond <= 65535 for _, bond in row)


@given(
    stake=st.lists(st.integers(0, fixed.ONE // 8), min_size=1, max_size=8),
    scores=st.lists(st.integers(0, 4), min_size=8, max_size=8),
    kappa=st.integers(0, 65535),
)
def test_consensus_is_the_least_score_with_more_than_the_minority_at_or_below_it(
    stake: list[int], scores: list[int], kappa: int
) -> None:
    column = [score * fixed.ONE // 4 for score in scores[: len(stake)]]
    got = int(yuma.compute_consensus(np.array(stake), np.array(column)[:, None], kappa)[0])
    held = [(score, amount) for score, amount in zip(column, stake, strict=True) if amount]
    total = sum(amount for _, amount in held)
    shares = [(score, (amount << 32) // total) for score, amount in held]
    minority = sum(share for _, share in shares) - (kappa << 32) // 65535
    reached = [s for s, _ in shares if sum(share for other, share in shares if other <= s) > minority]
    assert got == (min(reached, default=max((s for s, _ in shares), default=0)))
