"""Latency insurance over real sockets: a slow endpoint, a second attempt, and nothing left of either.

What each cell usually takes is told to the router beforehand, and enough requests are counted to pay for the second
attempts: so who is asked when is known.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from providerrank.gateway.settings import Clocks
from providerrank.rules.cells import CHAT as CHAT_TASK
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.why import Why
from providerrank.sim.faults import Fault, Play
from providerrank.sim.spec import EndpointSpec, Ttft
from tests.integration.gateway_bed import (
    CHAT,
    PREFILL,
    STREAM,
    Bed,
    Body,
    Seller,
    assert_whole,
    bed,
    post,
    until,
)

USUAL_US = 120_000
"""What every endpoint usually takes to its first token; the p95 too."""

HANGS = [Fault.HANG_BEFORE_HEAD, Fault.HANG_AFTER_HEAD, Fault.STALL_BEFORE_CONTENT]


def insure(it: Bed, hedges: int = 1) -> None:
    """Let what is usual be known, and so many second attempts be paid for."""
    now = it.gateway.now_us()
    for target in it.gateway.targets:
        for _ in range(30):
            it.gateway.router.observe(Observation(target, CHAT_TASK, now, Outcome.SUCCESS, USUAL_US, 2 * USUAL_US))
    it.gateway.hedges.requests = round(hedges / PARAMS.hedge_share)


def speaker(name: str, ttft_s: float = 0.0, tokens_per_s: float | None = None, **more: Any) -> Seller:
    """An endpoint that takes its time. ``more``: of the seller."""
    return Seller(name, spec=EndpointSpec(name=name, ttft=Ttft(median=ttft_s), tokens_per_s=tokens_per_s), **more)


def hedging(it: Bed) -> tuple[int, int, int]:
    """Second attempts, those that won, and requests that went on after a failure."""
    stats = it.gateway.stats
    return stats.hedges, stats.hedges_won, stats.fallbacks


@pytest.mark.parametrize("fault", HANGS, ids=str)
async def test_a_slow_endpoint_is_overtaken(fault: Fault) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        insure(it)
        it.sims["a"].script([fault])
        answer = await it.ask(STREAM)
        assert_whole(answer, STREAM)
        assert (answer.endpoint, answer.attempts) == ("b", 2)
        assert hedging(it) == (1, 1, 0)
        assert it.outcomes == [("a", "NOBODYS"), ("b", "SUCCESS")]
        first, seen = it.ended[0]
        assert first.beaten
        assert [attempt.why for attempt in (first, it.ended[1][0])] == [Why.FIRST, Why.HEDGE]
        assert seen.ttft_us is None
        assert seen.silent_us is not None
        assert seen.silent_us >= USUAL_US


async def test_the_loser_is_cancelled_while_the_winner_still_speaks() -> None:
    async with bed(Seller("a"), speaker("b", tokens_per_s=20.0)) as it, it.wire() as wire:
        insure(it)
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        wire.send(post(STREAM))
        begun = await wire.read_until(b'"content":"')
        await until(lambda: it.sims["a"].log.open_connections == 0)
        assert it.sims["a"].log.last.is_cancelled
        assert it.sims["b"].log.in_flight == 1, "its connection was closed before the answer was over"
        assert it.outcomes == [("a", "NOBODYS")]
        assert it.gateway.stats.in_flight == {"a/m": 0, "b/m": 1}
        answer = await wire.answer(begun)
        assert_whole(answer, STREAM)


async def test_the_first_may_still_win() -> None:
    async with bed(speaker("a", ttft_s=0.4), Seller("b")) as it:
        insure(it)
        it.sims["b"].script([Fault.STALL_BEFORE_CONTENT])
        answer = await it.ask(STREAM)
        assert_whole(answer, STREAM)
        assert (answer.endpoint, answer.attempts) == ("a", 2)
        assert hedging(it) == (1, 0, 0)
        assert it.outcomes == [("b", "NOBODYS"), ("a", "SUCCESS")]
        await until(lambda: it.sims["b"].log.last.is_cancelled)


async def test_a_role_is_not_content() -> None:
    """Both have begun to answer and neither has said anything: the race is still open."""
    async with bed(Seller("a"), Seller("b")) as it:
        insure(it)
        it.sims["a"].script([Fault.STALL_BEFORE_CONTENT])
        it.sims["b"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.3)])
        assert_whole(await it.ask(STREAM), STREAM)
        assert it.outcomes == [("a", "NOBODYS"), ("b", "SUCCESS")]


async def test_the_second_fails_and_the_first_goes_on() -> None:
    async with bed(speaker("a", ttft_s=0.4), Seller("b"), Seller("c")) as it:
        insure(it)
        it.sims["b"].script([Fault.STATUS_503])
        answer = await it.ask(STREAM)
        assert_whole(answer, STREAM)
        assert (answer.endpoint, answer.attempts) == ("a", 2)
        assert it.outcomes == [("b", "FAILURE"), ("a", "SUCCESS")]
        assert it.sims["c"].log.requests == 0
        assert hedging(it) == (1, 0, 0)


async def test_the_first_fails_and_the_second_goes_on() -> None:
    async with bed(speaker("a"), speaker("b", ttft_s=0.5), Seller("c")) as it:
        insure(it)
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        async with it.wire() as wire:
            wire.send(post(STREAM))
            await until(lambda: it.sims["b"].log.in_flight == 1)
            it.sims["a"].drop_connections()
            answer = await wire.answer()
        assert_whole(answer, STREAM)
        assert (answer.endpoint, answer.attempts) == ("b", 2)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]
        assert it.sims["c"].log.requests == 0


async def test_both_fail_and_the_next_answers() -> None:
    clocks = Clocks(first_token_us=600_000)
    async with bed(Seller("a"), Seller("b"), Seller("c"), clocks=clocks) as it:
        insure(it)
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        it.sims["b"].script([Fault.STATUS_500])
        answer = await it.ask(STREAM)
        assert_whole(answer, STREAM)
        assert (answer.endpoint, answer.attempts) == ("c", 3)
        assert it.outcomes == [("b", "FAILURE"), ("a", "FAILURE"), ("c", "SUCCESS")]
        assert hedging(it) == (1, 0, 1)


async def test_both_are_late_one_after_the_other() -> None:
    clocks = Clocks(first_token_us=400_000)
    async with bed(Seller("a"), Seller("b"), Seller("c"), clocks=clocks) as it:
        insure(it)
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        it.sims["b"].script([Fault.STALL_BEFORE_CONTENT])
        assert_whole(await it.ask(STREAM), STREAM)
        assert it.outcomes == [("a", "FAILURE"), ("b", "FAILURE"), ("c", "SUCCESS")]
        assert [attempt.fault and attempt.fault.name for attempt, _ in it.ended[:2]] == ["FIRST_TOKEN_TIMEOUT"] * 2


async def test_all_fail_and_each_is_named() -> None:
    async with bed(Seller("a"), Seller("b"), clocks=Clocks(total_us=1_000_000)) as it:
        insure(it)
        for name in "ab":
            it.sims[name].script([Fault.HANG_BEFORE_HEAD])
        answer = await it.ask(STREAM)
        assert answer.status == 504
        assert "a/m" in answer.error["message"]
        assert "b/m" in answer.error["message"]
        assert it.outcomes == [("a", "FAILURE"), ("b", "FAILURE")]


async def test_a_winner_that_is_cut_is_continued() -> None:
    async with bed(Seller("a"), Seller("b"), Seller("c", features=PREFILL)) as it:
        insure(it)
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        it.sims["b"].script([Fault.CUT_ABORT])
        answer = await it.ask(STREAM)
        assert_whole(answer, STREAM)
        assert answer.endpoint == "b", "who began it is who the head of the answer names"
        assert it.outcomes == [("a", "NOBODYS"), ("b", "FAILURE"), ("c", "SUCCESS")]
        assert hedging(it) == (1, 1, 1)
        assert it.gateway.stats.continuations == 1


async def test_a_refusal_that_all_would_give_ends_both() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        insure(it)
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        it.sims["b"].script([Fault.CONTENT_POLICY])
        answer = await it.ask(STREAM)
        assert (answer.status, answer.endpoint, answer.attempts) == (400, "b", 2)
        await until(lambda: it.sims["a"].log.last.is_cancelled)
        assert it.outcomes == [("b", "NOBODYS"), ("a", "NOBODYS")]


async def test_the_client_leaves_both() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        insure(it)
        for name in "ab":
            it.sims[name].script([Fault.HANG_AFTER_HEAD])
        async with it.wire() as wire:
            wire.send(post(STREAM))
            await until(lambda: it.sims["b"].log.in_flight == 1)
        await until(lambda: it.sims["a"].log.in_flight == it.sims["b"].log.in_flight == 0)
        assert it.outcomes == [("a", "NOBODYS"), ("b", "NOBODYS")]
        assert all(seen.silent_us is None for _, seen in it.ended), "who left says nothing of who was asked"
        assert it.gateway.stats.client_cancels == 1


async def test_a_drain_cuts_both_off() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        insure(it)
        for name in "ab":
            it.sims[name].script([Fault.HANG_AFTER_HEAD])
        async with it.wire() as wire:
            wire.send(post(STREAM))
            await until(lambda: it.sims["b"].log.in_flight == 1)
            await it.gateway.drain(0.1)
        await until(lambda: it.sims["a"].log.in_flight == it.sims["b"].log.in_flight == 0)
        assert it.outcomes == [("a", "NOBODYS"), ("b", "NOBODYS")]


async def test_a_mistake_of_ours_leaves_neither_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks when the two are settled, both are let go of and the client is told."""
    async with bed(Seller("a"), Seller("b")) as it:
        insure(it)
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])

        def observe(*_: object) -> None:
            raise RuntimeError("a mistake")

        monkeypatch.setattr(it.gateway.router, "observe", observe)
        answer = await it.ask(STREAM)
        assert answer.status == 500
        await until(lambda: it.sims["a"].log.in_flight == it.sims["b"].log.in_flight == 0)
        assert it.gateway.stats.in_flight == {"a/m": 0, "b/m": 0}


async def test_a_client_that_does_not_keep_up_is_no_reason_to_keep_the_loser() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        insure(it)
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        async with it.wire() as wire:
            wire.send(post(STREAM))
            await until(lambda: bool(it.gateway._exchanges))
            [exchange] = it.gateway._exchanges
            exchange.pause()
            await until(lambda: it.gateway.stats.hedges == 1)
            exchange.resume()
            assert_whole(await wire.answer(), STREAM)
        assert it.outcomes == [("a", "NOBODYS"), ("b", "SUCCESS")]


# ---- what is not hedged ----------------------------------------------------------------------------------------------

LONG = "x" * (5 * PARAMS.hedge_input_tokens)


@pytest.mark.parametrize(
    "body",
    [
        CHAT,
        {**STREAM, "n": 2},
        {**STREAM, "messages": [{"role": "user", "content": LONG}]},
    ],
    ids=["not streamed", "two choices", "a long prompt"],
)
async def test_what_has_none(body: Body) -> None:
    async with bed(Seller("a"), Seller("b"), clocks=Clocks(first_token_us=500_000)) as it:
        insure(it)
        it.sims["a"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.4)])
        answer = await it.ask(body)
        assert (answer.status, answer.endpoint) == (200, "a")
        assert it.sims["b"].log.requests == 0
        assert it.gateway.stats.hedges == 0


async def test_none_that_is_not_paid_for() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        insure(it, hedges=0)
        it.sims["a"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.4)])
        answer = await it.ask(STREAM)
        assert (answer.endpoint, answer.attempts) == ("a", 1)


async def test_none_where_it_is_switched_off() -> None:
    async with bed(Seller("a"), Seller("b"), hedge=0.0) as it:
        insure(it)
        it.sims["a"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.4)])
        answer = await it.ask(STREAM)
        assert (answer.endpoint, answer.attempts) == ("a", 1)


async def test_a_pool_that_is_slow_as_a_whole_is_not_asked_twice() -> None:
    """Overload: every request is slower than any was, and the budget is all there is."""
    async with bed(speaker("a", ttft_s=0.5), speaker("b", ttft_s=0.5)) as it:
        insure(it, hedges=0)
        answers = await asyncio.gather(*(it.ask(STREAM) for _ in range(60)))
        for answer in answers:
            assert_whole(answer, STREAM)
        assert it.gateway.stats.hedges == 3
        assert it.sims["a"].log.requests + it.sims["b"].log.requests == 63


async def test_an_endpoint_that_is_full_is_not_loaded_further() -> None:
    async with bed(speaker("a", ttft_s=0.4), Seller("b")) as it:
        insure(it)
        state = it.gateway.router._endpoints["b/m"]
        state.limit = 1.0
        it.gateway.router.acquire("b/m")
        answer = await it.ask(STREAM)
        assert (answer.endpoint, answer.attempts) == ("a", 1)
        it.gateway.router.release("b/m")
