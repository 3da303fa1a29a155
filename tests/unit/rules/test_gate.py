"""The gate piece by piece; its error rates are measured by simulation in test_gate_rates.py."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.cells import Cell
from providerrank.rules.eprocess import Evidence, compute_bet
from providerrank.rules.gate import (
    Opened,
    Transcript,
    compute_openings,
    find_leaf_fault,
    judge,
    plan_openings,
    plan_replays,
)
from providerrank.rules.market_params import MARKET
from providerrank.rules.nulls import Nulls, Timing, is_exceeded
from providerrank.rules.observation import Outcome
from providerrank.rules.records import Record
from providerrank.rules.replay_test import Claimed, Decision, Measured, Replay, ReplayTest, Test

PROMPT, PARAMS_HASH, ANSWER, OTHER = ("1" * 64, "2" * 64, "3" * 64, "4" * 64)
SECOND = Timing(500_000, 1_500_000)


def make_record(endpoint: str = "p/m", status: Outcome = Outcome.SUCCESS, **changes: Any) -> Record:
    completed = status in (Outcome.SUCCESS, Outcome.SCHEMA_VIOLATION)
    values: dict[str, Any] = {
        "cell": Cell(endpoint, "chat"),
        "index": 0,
        "prompt_hash": PROMPT,
        "response_hash": ANSWER,
        "params_hash": PARAMS_HASH,
        "started_us": 0,
        "ttft_us": 500_000 if completed else None,
        "total_us": 1_500_000,
        "tokens_in": 10,
        "tokens_out": 20,
        "status": status,
        "check": {Outcome.SUCCESS: "pass", Outcome.SCHEMA_VIOLATION: "wrong"}.get(status, "none"),
    }
    return Record(**values | changes)


def make_opened(**changes: Any) -> Opened:
    values: dict[str, Any] = {
        "record": make_record(),
        "fault": None,
        "prompt_hash": PROMPT,
        "params_hash": PARAMS_HASH,
        "max_tokens": 64,
        "transcript": Transcript(ANSWER, 80, "pass"),
    }
    return Opened(**values | changes)


def make_nulls(*endpoints: str, deterministic: bool = True) -> Nulls:
    nulls = Nulls()
    for endpoint in endpoints:
        for _ in range(200):
            nulls.add_timings(endpoint, SECOND, SECOND, SECOND)
            nulls.add_answers(endpoint, differ=not deterministic)
    return nulls


def make_replay(claim: Record, status: Outcome = Outcome.SUCCESS, factor: float = 1.0, answer: str = ANSWER) -> Replay:
    timing = Timing(round(SECOND.ttft_us * factor), round(SECOND.total_us * factor))
    measured = Measured(status, timing if status in (Outcome.SUCCESS, Outcome.SCHEMA_VIOLATION) else None, answer)
    return Replay(claim, measured, measured)


PROVIDERS = [f"p{i}/m" for i in range(5)]


def make_test(endpoints: list[str] = PROVIDERS, **options: Any) -> ReplayTest:
    records = [make_record(endpoint) for endpoint in endpoints for _ in range(100)]
    return ReplayTest(Claimed.count(records), make_nulls(*endpoints), **options)


def run(test: ReplayTest, endpoints: list[str] = PROVIDERS, replays: int = 100, **seen: Any) -> Decision:
    for i in range(replays):
        decision = test.add(make_replay(make_record(endpoints[i % len(endpoints)]), **seen))
        if decision is not Decision.MORE:
            return decision
    return Decision.MORE


# ---- integrity -------------------------------------------------------------------------------------------------


def test_a_true_leaf_has_no_fault() -> None:
    assert find_leaf_fault(make_opened()) is None
    failed = make_record(status=Outcome.FAILURE, tokens_out=None)
    assert find_leaf_fault(make_opened(record=failed, transcript=None)) is None
    uncounted = make_record(tokens_out=None)
    assert find_leaf_fault(make_opened(record=uncounted)) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fault": "it is not in the tree"}, "not in the tree"),
        ({"prompt_hash": OTHER}, "not this epoch's challenge"),
        ({"params_hash": OTHER}, "parameters"),
        ({"max_tokens": 19}, "20 tokens where at most 19"),
        ({"transcript": None}, "none shown"),
        ({"transcript": Transcript(OTHER, 80, "pass")}, "not the one that was hashed"),
        ({"transcript": Transcript(ANSWER, 80, "wrong")}, "'wrong', not 'pass'"),
        ({"transcript": Transcript(ANSWER, 20 * 256 + 1, "pass")}, "5121 bytes cannot be 20 tokens"),
    ],
)
def test_each_untruth_of_a_leaf_is_named_and_closes_the_gate(changes: dict[str, Any], words: str) -> None:
    opened = make_opened(**changes)
    assert words in str(find_leaf_fault(opened))
    verdict = judge(None, [make_opened(), opened], make_test())
    assert (verdict.gate, verdict.covered, verdict.carried) == (0, False, {})
    assert verdict.reason.startswith("The record of p/m chat #0 is not true: ")
    assert words in verdict.reason


def test_an_invalid_bundle_is_worth_nothing_whatever_its_leaves() -> None:
    verdict = judge("the signature is another's", [], make_test())
    assert (verdict.gate, verdict.reason) == (0, "The bundle is not valid: the signature is another's.")


def test_openings_suffice_for_one_in_twenty_and_not_by_chance_more() -> None:
    leaves = compute_openings()
    assert leaves == 90
    assert 1 - 0.95**leaves >= 0.99 > 1 - 0.95 ** (leaves - 1)


def test_what_is_opened_is_known_from_the_beacon_alone_and_from_nothing_before() -> None:
    chosen = plan_openings(10_000, b"one")
    assert chosen == plan_openings(10_000, b"one") == sorted(set(chosen))
    assert len(chosen) == 90
    assert max(chosen) < 10_000
    assert len(set(chosen) & set(plan_openings(10_000, b"two"))) < 10
    assert plan_openings(7, b"one") == list(range(7))
    assert plan_openings(0, b"one") == []


# ---- the plan --------------------------------------------------------------------------------------------------


def test_replays_go_round_the_providers_and_leave_failures_out() -> None:
    records = [make_record(f"p{i % 4}/m{i % 2}") for i in range(40)] + [make_record("p9/m", Outcome.FAILURE)] * 5
    plan = plan_replays(records, b"beacon")
    assert sorted(plan) == list(range(40))
    for turn in range(10):
        assert {plan[4 * turn + k] % 4 for k in range(4)} == {0, 1, 2, 3}
    assert plan != plan_replays(records, b"another")
    assert plan_replays([], b"beacon") == []


def test_where_failures_are_admitted_fewer_replays_are_spent_but_never_none() -> None:
    frank = [make_record("frank/m", Outcome.FAILURE if i % 4 == 0 else Outcome.SUCCESS) for i in range(200)]
    clean = [make_record(f"clean{i % 3}/m") for i in range(600)]
    plan = plan_replays(frank + clean, b"beacon")
    of_frank = [k for k, i in enumerate(plan) if i < 200]
    assert 6 <= len(of_frank) <= 9, "a quarter of the rounds, of about thirty"
    assert of_frank[0] < 4, "and the first round"


def test_no_more_replays_are_planned_than_one_bundle_is_worth() -> None:
    many = [make_record("big/m")] * 500 + [make_record("small/m")] * 3
    plan = plan_replays(many, b"beacon")
    assert len(plan) == 100
    assert {i for i in plan if i >= 500} == {500, 501, 502}


# ---- evidence --------------------------------------------------------------------------------------------------


@given(null=st.floats(0.001, 0.5), gap=st.floats(0.01, 0.4))
def test_a_bet_is_fair_to_honesty_and_pays_against_cheating(null: float, gap: float) -> None:
    alternative = null + gap
    won, lost = (math.exp(compute_bet(happened=h, null=null, alternative=alternative)) for h in (True, False))
    assert null * won + (1 - null) * lost == pytest.approx(1)
    assert won > 1 > lost
    assert alternative * math.log(won) + (1 - alternative) * math.log(lost) > 0


def test_one_cluster_counts_up_to_its_ceiling_and_below_without_end() -> None:
    evidence = Evidence(ceiling=2.0)
    for _ in range(10):
        evidence.add("out", 1.0)
        evidence.add("fine", -1.0)
    assert evidence.log_wealth == 2.0 - 10.0
    assert evidence.bets == 20


def test_an_honest_past_is_no_credit_and_a_suspicious_one_is_remembered() -> None:
    assert Evidence(2.0, carried=-9.0).log_wealth == 0.0
    assert Evidence(2.0, carried=1.5).log_wealth == 1.5


# ---- nulls -----------------------------------------------------------------------------------------------------


def test_exceeding_takes_both_measurements_in_either_time() -> None:
    claim = Timing(100, 1_000)
    slow, slow_end, fine = Timing(201, 1_500), Timing(150, 2_001), Timing(150, 1_500)
    assert is_exceeded(claim, slow, slow, 2)
    assert is_exceeded(claim, slow_end, slow_end, 2)
    assert not is_exceeded(claim, slow, fine, 2)
    assert not is_exceeded(claim, slow, slow_end, 2), "one each: neither time was slow twice"
    assert not is_exceeded(claim, Timing(200, 2_000), Timing(200, 2_000), 2)


def test_null_rates_lean_on_all_endpoints_until_known_and_stay_above_floors() -> None:
    nulls = Nulls()
    unknown = nulls.get_slow("new/m")
    assert unknown > 0.5, "with no calibration at all nothing can be said"
    for _ in range(300):
        nulls.add_timings("calm/m", SECOND, SECOND, SECOND)
    for _ in range(100):
        nulls.add_timings("wild/m", SECOND, Timing(300_000, 900_000), SECOND)
    assert nulls.get_slow("calm/m") == MARKET.latency_null_floor
    assert nulls.get_slow("wild/m") > 0.9
    assert MARKET.latency_null_floor < nulls.get_slow("new/m") < 0.5
    assert nulls.get_slow("elsewhere/m") == nulls.get_slow("new/m")


def test_the_vantage_allowance_counts_a_claim_less_far_below_as_exceeded() -> None:
    nulls = Nulls()
    for _ in range(200):
        nulls.add_timings("p/m", SECOND, Timing(340_000, 1_020_000), SECOND)  # 1.47 times: within 2 * 0.7, not within 2
    assert nulls.get_slow("p/m") > 0.9


def test_answers_are_compared_only_where_enough_is_known_and_they_agree() -> None:
    nulls = Nulls()
    for i in range(200):
        if i < 19:
            nulls.add_answers("young/m", differ=False)
        nulls.add_answers("steady/m", differ=False)
        nulls.add_answers("near/m", differ=i % 50 == 0)
        nulls.add_answers("free/m", differ=i % 2 == 0)
    assert MARKET.answer_null_floor <= (nulls.get_differ("steady/m") or 0) < 0.01
    assert 0.02 < (nulls.get_differ("near/m") or 0) < 0.05
    assert [nulls.get_differ(name) for name in ("young/m", "free/m", "unheard/m")] == [None, None, None]


# ---- the tests -------------------------------------------------------------------------------------------------


def test_agreement_passes_early_and_covers() -> None:
    test = make_test()
    assert run(test) is Decision.PASS
    assert MARKET.replays_min <= test.replays < 60
    verdict = judge(None, [make_opened()], test)
    assert (verdict.gate, verdict.covered, verdict.reason) == (1, True, "")
    assert verdict.carried == dict.fromkeys(Test, 0.0)


@pytest.mark.parametrize(
    ("seen", "test_name", "most"),
    [
        ({"factor": 2.1}, Test.LATENCY, 20),
        ({"status": Outcome.FAILURE}, Test.SUCCESS, 10),
        ({"status": Outcome.SCHEMA_VIOLATION}, Test.SCHEMA, 10),
        ({"answer": OTHER}, Test.ANSWER, 10),
    ],
)
def test_each_contradiction_trips_its_own_test(seen: dict[str, Any], test_name: Test, most: int) -> None:
    test = make_test()
    assert run(test, **seen) is Decision.TRIP
    assert test.get_tripped() == [test_name]
    assert test.replays <= most
    verdict = judge(None, [], test)
    assert verdict.gate == 0
    assert verdict.reason == f"Replays contradict its {test_name} claims ({test.replays} replays)."


def test_an_incident_at_two_providers_trips_nothing_in_one_epoch_and_does_if_it_never_ends() -> None:
    endpoints = PROVIDERS[:2]
    carried: dict[Test, float] | None = None
    decisions = []
    for _ in range(3):
        test = make_test(endpoints, carried=carried)
        decisions.append(run(test, endpoints, factor=3.0))
        carried = test.get_carried()
    assert decisions == [Decision.PASS, Decision.TRIP, Decision.TRIP]


def test_what_the_miner_admits_is_no_contradiction() -> None:
    records = [
        make_record(e, Outcome.FAILURE if i % 5 == 0 else Outcome.SUCCESS) for e in PROVIDERS for i in range(100)
    ]
    test = ReplayTest(Claimed.count(records), make_nulls(*PROVIDERS))
    for i in range(100):
        status = Outcome.FAILURE if (i // 5) % 5 == 0 else Outcome.SUCCESS
        if test.add(make_replay(make_record(PROVIDERS[i % 5]), status)) is not Decision.MORE:
            break
    assert test.decide() is Decision.PASS


def test_faults_on_the_validators_side_are_no_replays() -> None:
    test = make_test()
    for status in (Outcome.RATE_LIMITED, Outcome.REFUSED_US, Outcome.NOBODYS):
        assert test.add(make_replay(make_record(), status)) is Decision.MORE
    assert test.replays == 0
    verdict = judge(None, [], test)
    assert (verdict.gate, verdict.covered) == (1, False)
    assert verdict.reason == "Passed unverified: 0 replays of 20 needed."


def test_a_first_measurement_that_failed_on_our_side_or_is_missing_is_left_out() -> None:
    test = make_test()
    good = make_replay(make_record("p0/m"), factor=9.0)
    limited = Measured(Outcome.RATE_LIMITED, None, OTHER)
    test.add(replace(good, first=limited))
    test.add(replace(good, first=None))
    assert test.evidence[Test.LATENCY].bets == 0, "one measurement says nothing of latency"
    assert test.evidence[Test.SUCCESS].bets == 2


def test_latency_is_not_judged_where_a_time_is_missing_or_the_endpoint_is_wild() -> None:
    test = make_test()
    test.add(make_replay(replace(make_record("p0/m"), ttft_us=None)))
    untimed = Measured(Outcome.SUCCESS, None, ANSWER)
    test.add(replace(make_replay(make_record("p0/m")), second=untimed))
    test.add(make_replay(make_record("p0/m", Outcome.FAILURE)))
    wild = ReplayTest(Claimed.count([make_record()]), Nulls())
    wild.add(make_replay(make_record(), factor=5.0))
    assert test.evidence[Test.LATENCY].bets == wild.evidence[Test.LATENCY].bets == 0


def test_a_provider_the_bundle_says_nothing_of_or_only_failures_bets_little_or_nothing() -> None:
    test = ReplayTest(Claimed.count([make_record("sick/m", Outcome.FAILURE)] * 200), make_nulls())
    test.add(make_replay(make_record("sick/m", Outcome.FAILURE), Outcome.FAILURE))
    assert test.evidence[Test.SUCCESS].bets == 0, "failing more often than always is impossible"
    test.add(make_replay(make_record("unknown/m"), Outcome.FAILURE))
    assert 0 < test.evidence[Test.SUCCESS].log_wealth < 0.5


def test_replays_end_where_evidence_does_not() -> None:
    test = ReplayTest(Claimed.count([make_record()] * 2), Nulls())
    for _ in range(99):
        status = Outcome.FAILURE if test.replays % 4 == 0 else Outcome.SUCCESS
        assert test.add(make_replay(make_record(), status)) is Decision.MORE
    assert test.add(make_replay(make_record())) is Decision.PASS


def test_the_tests_alphas_sum_to_the_gates() -> None:
    test = make_test()
    assert sum(math.exp(-test.get_threshold(name)) for name in Test) == pytest.approx(MARKET.gate_alpha)
