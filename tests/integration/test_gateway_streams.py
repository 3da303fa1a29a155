"""Streams that break after content was delivered: continued where that contradicts nothing, else ended with a word.

Never a truncated answer that looks whole: what the client has is always the beginning of what a healthy endpoint says,
and it ends in ``[DONE]`` if and only if it is all of it.
"""

from __future__ import annotations

import asyncio

import pytest

from providerrank.gateway.settings import Clocks
from providerrank.rules.catalog import ModelRules
from providerrank.sim.faults import Fault, Play
from providerrank.sim.spec import EndpointSpec
from tests.integration.gateway_bed import (
    CHAT_PATH,
    MODEL,
    PREFILL,
    SCHEMA,
    STREAM,
    STREAM_USAGE,
    TEXT,
    TEXT_PATH,
    TOOLS,
    Body,
    Seller,
    assert_broken_off,
    assert_whole,
    bed,
    post,
    truth,
    until,
)

SHORT = Clocks(first_token_us=1_000_000, idle_us=1_000_000)

CUTS = [
    Fault.CUT_ABORT,
    Fault.CUT_CLEAN,
    Fault.ERROR_EVENT_MIDWAY,
    Fault.NO_FINISH,
    Fault.TRUNCATED_BODY,
    Fault.CUT_JSON,
    Fault.STALL_MID_STREAM,
]
TEXT_STREAM: Body = {**TEXT, "stream": True}


def speaker(fault: Fault) -> Seller:
    """The endpoint that breaks. An error event must come well after the content, or nothing was delivered before it."""
    return Seller("a", spec=EndpointSpec(name="a", tokens_per_s=4.0 if fault is Fault.ERROR_EVENT_MIDWAY else None))


def play(fault: Fault) -> Play:
    return Play(fault, after=2) if fault is Fault.ERROR_EVENT_MIDWAY else Play(fault)


BODIES = pytest.mark.parametrize("body", [STREAM, STREAM_USAGE, TEXT_STREAM], ids=["chat", "usage", "text"])


def path_of(body: Body) -> str:
    return TEXT_PATH if "prompt" in body else CHAT_PATH


@BODIES
@pytest.mark.parametrize("fault", CUTS, ids=str)
async def test_a_cut_stream_goes_on_by_prefill(fault: Fault, body: Body) -> None:
    sellers = speaker(fault), Seller("b"), Seller("c", features=PREFILL)
    async with bed(*sellers, clocks=SHORT) as it:
        it.sims["a"].script([play(fault)])
        answer = await it.ask(body, path_of(body))
        assert answer.endpoint == "a", "who began it is who the head of the answer names"
        assert it.outcomes == [("a", "FAILURE"), ("c", "SUCCESS")]
        [sent] = it.received("c")
        assert_whole(answer, body)
        if "prompt" in body:
            delivered = sent["prompt"].removeprefix(body["prompt"])
            assert truth(body).startswith(delivered)
        else:
            *messages, last = sent["messages"]
            assert messages == body["messages"]
            assert last["role"] == "assistant"
            delivered = last["content"]
            assert truth(body).startswith(delivered)
        assert delivered
        assert it.sims["b"].log.requests == 0, "one that can go on comes before one that has to begin again"
        assert it.gateway.stats.continuations == 1


@BODIES
@pytest.mark.parametrize("fault", CUTS, ids=str)
async def test_a_cut_stream_is_restarted_and_spliced_where_the_new_answer_repeats_it(fault: Fault, body: Body) -> None:
    async with bed(speaker(fault), Seller("b"), clocks=SHORT) as it:
        it.sims["a"].script([play(fault)])
        answer = await it.ask(body, path_of(body))
        assert_whole(answer, body)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]
        [sent] = it.received("b")
        assert sent.get("messages") == body.get("messages")
        assert sent.get("prompt") == body.get("prompt")


@pytest.mark.parametrize("after", [1, 2, 12, 23, 24])
@pytest.mark.parametrize("features", [PREFILL, frozenset[str]()], ids=["prefill", "restart"])
async def test_wherever_it_is_cut_nothing_is_lost_and_nothing_repeated(after: int, features: frozenset[str]) -> None:
    async with bed(Seller("a"), Seller("b", features=features)) as it:
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=after)])
        assert_whole(await it.ask(STREAM_USAGE), STREAM_USAGE)


@pytest.mark.parametrize("features", [PREFILL, frozenset[str]()], ids=["prefill", "restart"])
async def test_a_stream_survives_several_cuts(features: frozenset[str]) -> None:
    sellers = [Seller(name, features=features) for name in "abcd"]
    async with bed(*sellers) as it:
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=3)])
        it.sims["b"].script([Fault.STATUS_503])
        it.sims["c"].script([Play(Fault.CUT_CLEAN, after=10)])
        assert_whole(await it.ask(STREAM), STREAM)
        assert it.outcomes == [("a", "FAILURE"), ("b", "FAILURE"), ("c", "FAILURE"), ("d", "SUCCESS")]


async def test_a_lone_endpoint_goes_on_with_what_it_began() -> None:
    async with bed(Seller("a", features=PREFILL)) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        assert_whole(await it.ask(STREAM), STREAM)
        assert it.outcomes == [("a", "FAILURE"), ("a", "SUCCESS")]


@pytest.mark.parametrize("features", [PREFILL, frozenset[str]()], ids=["prefill", "restart"])
async def test_the_usage_of_a_continued_answer_is_that_of_all_of_it(features: frozenset[str]) -> None:
    async with bed(Seller("a"), Seller("b", features=features)) as it:
        whole = await it.ask(STREAM_USAGE)
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=10)])
        spliced = await it.ask(STREAM_USAGE)
        # Estimated where a prefill was part of the second endpoint's prompt.
        assert abs(whole.usages[0]["completion_tokens"] - spliced.usages[0]["completion_tokens"]) < 5
        assert abs(whole.usages[0]["prompt_tokens"] - spliced.usages[0]["prompt_tokens"]) < 10
        _, seen = it.ended[-1]
        assert seen.output_tokens_counted is not None
        assert seen.output_tokens_billed is not None
        assert seen.output_tokens_counted < 2 * seen.output_tokens_billed, "it answers for what it wrote, no more"


async def test_an_answer_to_a_schema_is_continued_too() -> None:
    body = {**STREAM, **SCHEMA}
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=1)])
        assert_whole(await it.ask(body), body)


@pytest.mark.parametrize("fault", CUTS, ids=str)
async def test_a_new_answer_that_differs_ends_the_stream_with_a_word(fault: Fault) -> None:
    other = EndpointSpec(name="b", diverge_at=0)
    async with bed(speaker(fault), Seller("b", spec=other), clocks=SHORT) as it:
        it.sims["a"].script([play(fault)])
        answer = await it.ask(STREAM)
        if fault is Fault.NO_FINISH:
            # All of the text was delivered; that it was all, nobody could tell.
            assert "[DONE]" not in answer.events
            assert answer.finish is None
        else:
            assert_broken_off(answer, STREAM)
        assert "b/m: its answer does not continue what was already delivered" in answer.error["message"]
        assert it.outcomes == [("a", "FAILURE"), ("b", "NOBODYS")]
        assert it.gateway.stats.requests == {("chat", "2xx"): 1}


async def test_one_whose_answer_differs_is_passed_over_for_one_whose_does_not() -> None:
    other = EndpointSpec(name="b", diverge_at=3)
    async with bed(Seller("a"), Seller("b", spec=other), Seller("c")) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        assert_whole(await it.ask(STREAM), STREAM)
        assert it.outcomes == [("a", "FAILURE"), ("b", "NOBODYS"), ("c", "SUCCESS")]


async def test_a_fallback_model_never_continues_what_another_model_said() -> None:
    models = [ModelRules(MODEL, pin=("a/m",), fallback_models=("n",))]
    async with bed(Seller("a"), Seller("b", model="n", features=PREFILL), models=models) as it:
        it.sims["a"].script([Fault.CUT_ABORT, Fault.CUT_BEFORE_CONTENT])
        assert_broken_off(await it.ask(STREAM), STREAM)
        assert it.sims["b"].log.requests == 0


@pytest.mark.parametrize("fault", [Fault.TOOL_CUT, Fault.STALL_MID_STREAM, Fault.CUT_CLEAN, Fault.ERROR_EVENT_MIDWAY])
async def test_nothing_is_continued_after_a_part_of_a_tool_call(fault: Fault) -> None:
    body = {**STREAM, **TOOLS}
    async with bed(speaker(fault), Seller("b", features=PREFILL), clocks=SHORT) as it:
        it.sims["a"].script([Play(fault, after=2)])
        answer = await it.ask(body)
        assert_broken_off(answer, body)
        assert it.sims["b"].log.requests == 0
        assert it.outcomes == [("a", "FAILURE")]


async def test_before_anything_of_a_tool_call_another_endpoint_may_make_it() -> None:
    body = {**STREAM, **TOOLS}
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Fault.ERROR_EVENT_FIRST])
        answer = await it.ask(body)
        assert_whole(answer, body)
        assert answer.endpoint == "b"


async def test_where_nobody_is_left_the_error_names_each_attempt() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        it.sims["b"].script([Fault.STATUS_503])
        answer = await it.ask(STREAM)
        assert_broken_off(answer, STREAM)
        assert "a/m: the answer was cut off" in answer.error["message"]
        assert "b/m: unavailable (HTTP 503)" in answer.error["message"]


async def test_a_refusal_of_the_continuation_is_no_answer_to_the_client() -> None:
    sellers = Seller("a"), Seller("b", features=PREFILL), Seller("c", features=PREFILL)
    async with bed(*sellers) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        it.sims["b"].script([Fault.STATUS_400])
        assert_whole(await it.ask(STREAM), STREAM)
        assert it.outcomes == [("a", "FAILURE"), ("b", "NOBODYS"), ("c", "SUCCESS")]


@pytest.mark.parametrize("fault", [Fault.NO_DONE, Fault.NO_DONE_HELD, Fault.NO_USAGE], ids=str)
async def test_what_a_finished_stream_forgets_is_supplied_promptly(fault: Fault) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([fault])
        answer = await asyncio.wait_for(it.ask(STREAM_USAGE), 5)
        assert_whole(answer, STREAM_USAGE)
        assert it.outcomes == [("a", "SUCCESS")]


async def test_a_connection_whose_end_never_comes_is_not_kept() -> None:
    async with bed(Seller("a")) as it:
        it.sims["a"].script([Fault.NO_DONE_HELD])
        assert_whole(await it.ask(STREAM), STREAM)
        await until(lambda: it.sims["a"].log.open_connections == 0)


async def test_events_that_are_not_json_are_skipped_in_a_continuation_too() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        it.sims["b"].script([Fault.NON_JSON_EVENT])
        assert_whole(await it.ask(STREAM), STREAM)
        assert it.outcomes == [("a", "FAILURE"), ("b", "FAILURE")]


async def test_a_schema_broken_in_a_stream_is_held_against_the_endpoint_though_it_is_delivered() -> None:
    body = {**STREAM, **SCHEMA}
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Fault.SCHEMA_VIOLATION])
        answer = await it.ask(body)
        assert (answer.endpoint, answer.events[-1]) == ("a", "[DONE]")
        assert it.outcomes == [("a", "SCHEMA_VIOLATION")]


async def test_a_tool_call_nobody_can_carry_out_is_held_against_the_endpoint_though_it_is_delivered() -> None:
    body = {**STREAM, **TOOLS}
    async with bed(Seller("a"), Seller("b")) as it:
        assert_whole(await it.ask(body), body)
        it.sims["a"].script([Fault.SCHEMA_VIOLATION])
        answer = await it.ask(body)
        assert (answer.endpoint, answer.events[-1]) == ("a", "[DONE]")
        assert it.outcomes == [("a", "SUCCESS"), ("a", "SCHEMA_VIOLATION")]


@pytest.mark.parametrize("extra", [{"n": 2}, {"logprobs": True}], ids=str)
async def test_what_no_other_endpoint_can_continue_is_broken_off(extra: Body) -> None:
    body = {**STREAM, **extra}
    async with bed(Seller("a"), Seller("b", features=PREFILL | {"logprobs"})) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        assert_broken_off(await it.ask(body), body)
        assert it.sims["b"].log.requests == 0


async def test_each_event_leaves_with_the_read_that_brought_it() -> None:
    slow = EndpointSpec(name="a", tokens_per_s=4.0)
    async with bed(Seller("a", spec=slow)) as it, it.wire() as wire:
        body = {**STREAM, "max_tokens": 6}
        wire.send(post(body))
        begin = await wire.read_until(b'"content":"')
        assert begin.count(b"data: ") <= 3, "six tokens take more than a second: the first did not wait for the last"
        assert b"[DONE]" not in begin
        await wire.read_until(b"[DONE]")


async def test_an_endpoint_is_told_in_its_own_way_to_go_on() -> None:
    async with bed(Seller("a"), Seller("b", features=PREFILL, prefill="vllm")) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        assert_whole(await it.ask(STREAM), STREAM)
        [body] = it.received("b")
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
        assert (await it.ask(STREAM)).status == 200
