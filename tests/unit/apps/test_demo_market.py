"""The demo's second act: how long its epochs are, and what is said of one."""

from __future__ import annotations

import pytest

from providerrank.apps.demo.market import (
    LEAST_EPOCH_S,
    LIAR,
    MOST_EPOCH_S,
    PROBES,
    Epoch,
    MarketSummary,
    compute_epoch_s,
    find_caught,
    format_end,
    format_epoch,
    measure_pace,
)
from providerrank.engines.prober_http import Target


def make_epoch(number: int, emission: float, verdict: str, reason: str = "") -> Epoch:
    return Epoch(
        epoch=number,
        emission={"alice": emission, LIAR: 0.0},
        verdicts={"alice": ["passed", "uncovered"], LIAR: [verdict, verdict]},
        burned=20.0 - emission,
        verified_cells=4,
        replays=24,
        reasons={LIAR: reason, "alice": "Passed unverified."} if reason else {},
    )


def test_an_epoch_is_long_enough_for_every_honest_miners_probes() -> None:
    epoch_s = compute_epoch_s(2.0, 4)
    assert LEAST_EPOCH_S < epoch_s < MOST_EPOCH_S
    assert 2.0 * epoch_s / 2 > 3 * PROBES, "half of an epoch is there to measure in"
    assert compute_epoch_s(1.0, 4) == pytest.approx(2 * epoch_s)


def test_an_epoch_has_bounds_however_quick_or_slow_the_machine() -> None:
    assert compute_epoch_s(1_000.0, 4) == LEAST_EPOCH_S
    assert compute_epoch_s(0.0, 4) == MOST_EPOCH_S


async def test_endpoints_that_answer_nothing_have_no_pace() -> None:
    assert await measure_pace({"a/m": Target("http://127.0.0.1:9/v1", "m", None)}) == 0.0


def test_of_an_epoch_that_paid_somebody_only_the_liars_verdict_is_explained() -> None:
    lines = format_epoch(make_epoch(1, 1.5, "tripped", "The answer is not the one that was hashed."))
    assert lines == [
        "Epoch 1: 24 replays so far, 4 cells verified",
        "  alice      1.500 TAO  gate 1, gate 1, too few replays",
        f"  {LIAR:8}   0.000 TAO  gate 0, gate 0  <- makes records up",
        "  burned    18.500 TAO",
        f"  why {LIAR}: The answer is not the one that was hashed.",
    ]


def test_of_an_epoch_that_paid_nobody_it_is_said_why() -> None:
    lines = format_epoch(make_epoch(1, 0.0, "tripped", "Not true."))
    assert lines[-2:] == [f"  why {LIAR}: Not true.", "  why alice: Passed unverified."]


@pytest.mark.parametrize(("verdicts", "caught"), [(["tripped"], 0), (["uncovered", "tripped"], 1), (["passed"], None)])
def test_the_liar_is_caught_when_all_who_judged_it_say_so(verdicts: list[str], caught: int | None) -> None:
    assert find_caught([make_epoch(at, 1.0, verdict) for at, verdict in enumerate(verdicts)]) == caught


def test_an_act_is_sound_where_the_liar_earned_nothing_once_caught_and_something_is_verified() -> None:
    epochs = [make_epoch(0, 1.0, "tripped")]
    assert MarketSummary(liar=LIAR, caught_in_epoch=0, epochs=epochs, evidence={"swift": "…"}).is_sound
    assert not MarketSummary(liar=LIAR, caught_in_epoch=0, epochs=epochs, evidence={}).is_sound
    assert not MarketSummary(liar="alice", caught_in_epoch=0, epochs=epochs, evidence={"swift": "…"}).is_sound


def test_an_interrupted_act_says_what_was_seen_until_then_and_accuses_nobody_of_the_rest() -> None:
    none = MarketSummary(liar=LIAR, caught_in_epoch=None, epochs=[], evidence={}, interrupted=True)
    assert none.is_sound
    assert format_end(none) == [
        f"Interrupted after 0 whole epochs. {LIAR} was not caught. The gateway's ranking rests on nothing verified yet."
    ]
    one = MarketSummary(
        liar=LIAR, caught_in_epoch=0, epochs=[make_epoch(0, 1.0, "tripped")], evidence={"swift": "…"}, interrupted=True
    )
    assert one.is_sound
    assert format_end(one) == [
        f"Interrupted after 1 whole epochs. {LIAR} was caught in epoch 0, and earned nothing from then on. "
        "The gateway's ranking now rests on:",
        "  swift    …",
    ]


def test_the_end_says_what_did_not_come_about() -> None:
    uncaught = MarketSummary(liar=LIAR, caught_in_epoch=None, epochs=[], evidence={})
    assert not uncaught.is_sound
    [said] = format_end(uncaught)
    assert "was not caught" in said
    assert "--epoch-seconds" in said
    paid = MarketSummary(
        liar="alice", caught_in_epoch=0, epochs=[make_epoch(0, 1.0, "passed")], evidence={"swift": "…"}
    )
    assert "paid all the same" in format_end(paid)[0]
