"""The fault table, row by row, through a real gateway: what is seen before anything was delivered.

Held at every row: what the client receives (to the character), how many attempts it took and on whom, and who is
blamed. Rows about a stream that breaks after content are in ``test_gateway_streams``.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from providerrank.gateway.settings import Clocks, Limits
from providerrank.rules.catalog import ModelRules
from providerrank.sim.faults import Fault, Play
from providerrank.sim.spec import EndpointSpec
from tests.integration.gateway_bed import (
    CHAT,
    SCHEMA,
    STREAM,
    STREAM_USAGE,
    TEXT,
    TEXT_PATH,
    TOOLS,
    Bed,
    Body,
    Seller,
    assert_whole,
    bed,
    truth,
    until,
)

BOTH = pytest.mark.parametrize("body", [CHAT, STREAM], ids=["plain", "stream"])
SHORT = Clocks(connect_us=1_000_000, first_token_us=500_000, idle_us=500_000)
"""For tests in which a clock runs out on the first endpoint; the second, as the last one left, is never late."""


async def meet(it: Bed, fault: Fault | Play, body: Body, attempts: int = 2) -> None:
    """The first endpoint meets a fault; the client meets a whole answer from the second."""
    it.sims["a"].script([fault])
    answer = await it.ask(body)
    assert it.sims["a"].script_left == 0
    assert_whole(answer, body)
    assert (answer.attempts, answer.endpoint) == (attempts, "b")
    assert answer.headers["x-request-id"]


# ---- refused, reset, DNS or TLS failure before any byte --------------------------------------------------------------


LOST = [Fault.RESET_ON_ACCEPT, Fault.TLS_GARBAGE, Fault.RESET_BEFORE_ANSWER, Fault.CLOSE_BEFORE_ANSWER]


@BOTH
@pytest.mark.parametrize("fault", LOST, ids=str)
async def test_a_lost_connection_is_answered_elsewhere_at_once(fault: Fault, body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await meet(it, fault, body)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]


@BOTH
async def test_a_refused_connection_is_answered_elsewhere_at_once(body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await it.sims["a"].down()
        answer = await it.ask(body)
        assert_whole(answer, body)
        assert (answer.attempts, answer.endpoint) == (2, "b")
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]
        await it.sims["a"].up()


@pytest.mark.parametrize("host", ["nothing.invalid", "a..b", "x" * 70])
async def test_a_host_without_an_address_is_answered_elsewhere(host: str) -> None:
    async with bed(Seller("a", url=f"http://{host}/v1"), Seller("b")) as it:
        answer = await it.ask(CHAT)
        assert_whole(answer, CHAT)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]


# ---- clocks ----------------------------------------------------------------------------------------------------------


async def test_a_connection_that_is_not_made_in_time_is_given_up() -> None:
    async with bed(Seller("a"), Seller("b"), clocks=SHORT) as it:
        await it.sims["a"].switch(Fault.CONNECT_HANG)
        answer = await it.ask(CHAT)
        assert_whole(answer, CHAT)
        assert [a.fault.name if a.fault else None for a, _ in it.ended] == ["CONNECT_TIMEOUT", None]
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]
        await it.sims["a"].switch(None)


@BOTH
@pytest.mark.parametrize("fault", [Fault.HANG_BEFORE_HEAD, Fault.HANG_AFTER_HEAD, Fault.STALL_BEFORE_CONTENT], ids=str)
async def test_silence_is_given_up_and_the_silent_connection_closed(fault: Fault, body: Body) -> None:
    # Not streamed, an answer may take as long as it takes to write: ten tokens are soon written.
    body = {**body, "max_tokens": 10, "messages": [{"role": "user", "content": "Hello [[tokens=8]]"}]}
    async with bed(Seller("a"), Seller("b"), clocks=SHORT) as it:
        await meet(it, fault, body)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]
        await until(lambda: it.sims["a"].log.in_flight == 0)
        assert it.sims["a"].log.last.is_cancelled


async def test_the_last_candidate_is_never_too_late() -> None:
    async with bed(Seller("a"), Seller("b"), clocks=Clocks(first_token_us=100_000, idle_us=200_000)) as it:
        it.sims["a"].script([Fault.STATUS_503])
        it.sims["b"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=1.0)])
        answer = await it.ask(STREAM)
        assert_whole(answer, STREAM)
        assert (answer.attempts, answer.endpoint) == (2, "b")


@BOTH
async def test_the_total_clock_ends_even_the_last_candidate(body: Body) -> None:
    async with bed(Seller("a"), clocks=Clocks(total_us=1_000_000)) as it:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        answer = await it.ask(body)
        assert answer.status == 504
        assert answer.error["code"] == "upstream_timeout"
        assert "a/m: the request's total time ran out" in answer.error["message"]
        assert it.outcomes == [("a", "FAILURE")]


# ---- 429 -------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("play", "least_s", "most_s"),
    [
        (Play(Fault.RATE_LIMIT, seconds=30), 20, 30),
        (Play(Fault.RATE_LIMIT_DATE, seconds=30), 20, 32),
        (Fault.RATE_LIMIT_BARE, 0, 1),
    ],
    ids=["seconds", "date", "bare"],
)
async def test_a_rate_limit_cools_the_endpoint(play: Fault | Play, least_s: float, most_s: float, body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        before_us = it.gateway.now_us()
        await meet(it, play, body)
        after_us = it.gateway.now_us()
        assert it.outcomes == [("a", "RATE_LIMITED"), ("b", "SUCCESS")]
        until_us = it.gateway.router._endpoints["a/m"].cooling_until_us
        assert before_us + least_s * 1e6 <= until_us <= after_us + most_s * 1e6


async def test_a_cooling_endpoint_is_left_alone() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await meet(it, Play(Fault.RATE_LIMIT, seconds=60), CHAT)
        for _ in range(5):
            assert (await it.ask(CHAT)).attempts == 1
        assert it.sims["a"].log.requests == 1
        assert it.row("a").state == "cooling"


async def test_of_two_rate_limits_the_later_deadline_wins() -> None:
    async with bed(Seller("a"), Seller("b")) as it, it.wire() as one, it.wire() as two:
        it.sims["a"].script([Play(Fault.RATE_LIMIT, seconds=60), Play(Fault.RATE_LIMIT, seconds=2)])
        await asyncio.gather(one.ask(CHAT), two.ask(CHAT))
        assert it.sims["a"].log.requests == 2
        assert it.gateway.router._endpoints["a/m"].cooling_until_us > it.gateway.now_us() + 10e6


@BOTH
async def test_a_short_rate_limit_of_the_last_endpoint_is_waited_for_before_a_fallback_model(body: Body) -> None:
    models = [ModelRules("m", pin=("a/m",), fallback_models=("n",))]
    async with bed(Seller("a"), Seller("b", model="n"), models=models) as it:
        it.sims["a"].script([Play(Fault.RATE_LIMIT, seconds=1)])
        began = time.monotonic()
        answer = await it.ask(body)
        assert_whole(answer, body)
        assert (answer.attempts, answer.endpoint) == (2, "a")
        assert time.monotonic() - began >= 0.9
        assert it.sims["b"].log.requests == 0
        assert it.outcomes == [("a", "RATE_LIMITED"), ("a", "SUCCESS")]


async def test_a_long_rate_limit_is_not_waited_for() -> None:
    models = [ModelRules("m", pin=("a/m",), fallback_models=("n",))]
    async with bed(Seller("a"), Seller("b", model="n"), models=models) as it:
        await meet(it, Play(Fault.RATE_LIMIT, seconds=30), CHAT)
        assert it.received("b")[0]["model"] == "upstream-n"


async def test_where_every_endpoint_is_rate_limited_the_client_is_told_when_to_come_back() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Play(Fault.RATE_LIMIT, seconds=60)])
        it.sims["b"].script([Play(Fault.RATE_LIMIT, seconds=30)])
        answer = await it.ask(CHAT)
        assert answer.status == 429
        assert answer.error["type"] == "rate_limit_error"
        assert 20 <= int(answer.headers["retry-after"]) <= 30
        assert answer.attempts == 2


# ---- 500, 502, reset: one retry on the model's last endpoint ---------------------------------------------------------

MENDING = [Fault.STATUS_500, Fault.STATUS_502, Fault.RESET_BEFORE_ANSWER, Fault.CLOSE_BEFORE_ANSWER]


@BOTH
@pytest.mark.parametrize("fault", MENDING, ids=str)
async def test_a_lone_endpoint_that_stumbles_is_asked_once_more(fault: Fault, body: Body) -> None:
    async with bed(Seller("a")) as it:
        it.sims["a"].script([fault])
        answer = await it.ask(body)
        assert_whole(answer, body)
        assert (answer.attempts, answer.endpoint) == (2, "a")
        assert it.outcomes == [("a", "FAILURE"), ("a", "SUCCESS")]


@pytest.mark.parametrize("fault", MENDING, ids=str)
async def test_where_another_endpoint_is_left_nobody_is_asked_twice(fault: Fault) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await meet(it, fault, CHAT)
        assert it.sims["a"].log.requests == 1


async def test_the_retry_is_the_last_endpoints_and_the_fallback_model_comes_after_it() -> None:
    models = [ModelRules("m", pin=("a/m", "b/m"), fallback_models=("n",))]
    async with bed(Seller("a"), Seller("b"), Seller("c", model="n"), models=models) as it:
        it.sims["a"].script([Fault.STATUS_500])
        it.sims["b"].script([Fault.STATUS_502, Fault.STATUS_500])
        answer = await it.ask(CHAT)
        assert_whole(answer, CHAT)
        assert (answer.attempts, answer.endpoint) == (4, "c")
        assert [who for who, _ in it.outcomes] == ["a", "b", "b", "c"]


# ---- 503, 504, 529: never hammered -----------------------------------------------------------------------------------

BUSY = [Fault.STATUS_503, Fault.STATUS_504, Fault.STATUS_529]


@BOTH
@pytest.mark.parametrize("fault", BUSY, ids=str)
async def test_a_busy_endpoint_is_passed_over(fault: Fault, body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await meet(it, fault, body)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]


@pytest.mark.parametrize("fault", BUSY, ids=str)
async def test_a_busy_endpoint_is_not_asked_again_even_where_it_is_the_only_one(fault: Fault) -> None:
    async with bed(Seller("a")) as it:
        it.sims["a"].script([fault])
        answer = await it.ask(CHAT)
        assert answer.status == 502
        assert answer.error["code"] == "all_endpoints_failed"
        assert it.sims["a"].log.requests == answer.attempts == 1


async def test_an_endpoint_that_stays_busy_is_not_hammered_by_the_requests_that_follow() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await it.sims["a"].switch(Fault.STATUS_503)
        for _ in range(30):
            assert_whole(await it.ask(CHAT), CHAT)
        assert it.sims["a"].log.requests <= 4
        assert it.row("a").state == "out"


# ---- 401, 402, 403, 404 from the endpoint ----------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("fault", [Fault.STATUS_401, Fault.STATUS_402, Fault.STATUS_403, Fault.STATUS_404], ids=str)
async def test_an_endpoint_that_refuses_us_is_out_at_once_and_the_client_hears_nothing(
    fault: Fault, body: Body
) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await meet(it, fault, body)
        assert it.outcomes == [("a", "REFUSED_US"), ("b", "SUCCESS")]
        assert it.row("a").state == "out"
        assert it.gateway.stats.last_failures["a/m"][1] == "refused_us"
        for _ in range(5):
            assert (await it.ask(body)).attempts == 1


async def test_where_all_refuse_us_the_client_is_not_told_that_its_own_key_is_wrong() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Fault.STATUS_401])
        it.sims["b"].script([Fault.STATUS_404])
        answer = await it.ask(CHAT)
        assert answer.status == 502
        assert "a/m: refused our key, balance or model name (HTTP 401)" in answer.error["message"]
        assert "b/m: refused our key, balance or model name (HTTP 404)" in answer.error["message"]


# ---- 408, 409, 425 ---------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("fault", [Fault.STATUS_408, Fault.STATUS_409, Fault.STATUS_425], ids=str)
async def test_a_conflict_goes_to_the_next_endpoint(fault: Fault, body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await meet(it, fault, body)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]


# ---- refusals that are about the request -----------------------------------------------------------------------------


@BOTH
async def test_a_prompt_too_long_goes_only_to_larger_windows(body: Body) -> None:
    sellers = Seller("a", context_window=4096), Seller("b", context_window=4096), Seller("c", context_window=131_072)
    async with bed(*sellers) as it:
        it.sims["a"].script([Fault.CONTEXT_LENGTH])
        answer = await it.ask(body)
        assert_whole(answer, body)
        assert (answer.attempts, answer.endpoint) == (2, "c")
        assert it.sims["b"].log.requests == 0
        assert it.outcomes == [("a", "NOBODYS"), ("c", "SUCCESS")]


async def test_a_prompt_too_long_goes_to_a_fallback_model_with_a_larger_window() -> None:
    models = [ModelRules("m", pin=("a/m",), fallback_models=("n", "o"))]
    sellers = (
        Seller("a", context_window=4096),
        Seller("b", model="n", context_window=2048),
        Seller("c", model="o", context_window=131_072),
    )
    async with bed(*sellers, models=models) as it:
        it.sims["a"].script([Fault.CONTEXT_LENGTH])
        answer = await it.ask(CHAT)
        assert_whole(answer, CHAT)
        assert (answer.attempts, answer.endpoint) == (2, "c")
        assert it.sims["b"].log.requests == 0


@BOTH
async def test_a_prompt_too_long_for_everyone_is_the_clients_own_error(body: Body) -> None:
    async with bed(Seller("a", context_window=4096), Seller("b", context_window=4096)) as it:
        it.sims["a"].script([Fault.CONTEXT_LENGTH])
        answer = await it.ask(body)
        assert (answer.status, answer.attempts, answer.endpoint) == (400, 1, "a")
        assert answer.error["code"] == "context_length_exceeded"
        assert "maximum context length is 4096" in answer.error["message"]
        assert it.outcomes == [("a", "NOBODYS")]


@BOTH
async def test_a_providers_reason_for_refusing_the_content_reaches_the_client(body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Fault.CONTENT_POLICY])
        answer = await it.ask(body)
        assert (answer.status, answer.attempts, answer.endpoint) == (400, 1, "a")
        assert answer.error["code"] == "content_policy_violation"
        assert answer.error["message"] == "Rejected as a result of our safety system"
        assert it.sims["b"].log.requests == 0
        assert it.outcomes == [("a", "NOBODYS")]


@BOTH
@pytest.mark.parametrize("fault", [Fault.UNSUPPORTED_400, Fault.UNSUPPORTED_422], ids=str)
async def test_a_feature_an_endpoint_lacks_is_looked_for_elsewhere(fault: Fault, body: Body) -> None:
    body = {**body, **TOOLS}
    async with bed(Seller("a"), Seller("b", features=frozenset({"json_schema"})), Seller("c")) as it:
        it.sims["a"].script([Play(fault, parameter="tools")])
        answer = await it.ask(body)
        assert_whole(answer, body)
        assert (answer.attempts, answer.endpoint) == (2, "c")
        assert it.sims["b"].log.requests == 0
        assert it.outcomes == [("a", "NOBODYS"), ("c", "SUCCESS")]


@BOTH
async def test_a_parameter_that_no_feature_stands_for_is_tried_on_the_next_endpoint(body: Body) -> None:
    body = {**body, "top_k": 4}
    async with bed(Seller("a", spec=EndpointSpec(name="a", lacks=("top_k",))), Seller("b")) as it:
        answer = await it.ask(body)
        assert_whole(answer, body)
        assert (answer.attempts, answer.endpoint) == (2, "b")
        assert it.outcomes == [("a", "NOBODYS"), ("b", "SUCCESS")]


@BOTH
@pytest.mark.parametrize(("fault", "status"), [(Fault.UNSUPPORTED_400, 400), (Fault.UNSUPPORTED_422, 422)])
async def test_a_feature_nobody_has_is_the_clients_own_error(fault: Fault, status: int, body: Body) -> None:
    models = [ModelRules("m", pin=("a/m",), fallback_models=("n",))]
    async with bed(Seller("a"), Seller("b", model="n"), models=models) as it:
        it.sims["a"].script([Play(fault, parameter="tools")])
        answer = await it.ask({**body, **TOOLS})
        assert (answer.status, answer.endpoint) == (status, "a")
        assert answer.error["param"] == "tools"
        assert it.sims["b"].log.requests == 0


@BOTH
@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (Fault.STATUS_400, 400, "Bad request"),
        (Fault.STATUS_410, 410, "This model has been withdrawn"),
        (Fault.STATUS_418, 418, "I'm a teapot"),
        (Fault.STATUS_451, 451, "Unavailable for legal reasons"),
    ],
)
async def test_any_other_4xx_goes_to_the_client_as_it_is(fault: Fault, status: int, message: str, body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([fault])
        answer = await it.ask(body)
        assert (answer.status, answer.attempts, answer.endpoint) == (status, 1, "a")
        assert answer.error["message"] == message
        assert it.sims["b"].log.requests == 0
        assert it.outcomes == [("a", "NOBODYS")]


# ---- 200 that is no answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [CHAT, TEXT, {**CHAT, **TOOLS}, {**CHAT, **SCHEMA}], ids=["chat", "text", "tools", "schema"]
)
@pytest.mark.parametrize(
    "fault",
    [
        Fault.MALFORMED_JSON,
        Fault.EMPTY_BODY,
        Fault.TRUNCATED_BODY,
        Fault.CUT_JSON,
        Fault.HTML_BODY,
        Fault.ERROR_OBJECT,
        Fault.RESET_AFTER_HEAD,
    ],
    ids=str,
)
async def test_a_200_that_is_no_whole_answer_is_a_failure(fault: Fault, body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([fault])
        answer = await it.ask(body, TEXT_PATH if "prompt" in body else "/v1/chat/completions")
        assert_whole(answer, body)
        assert (answer.attempts, answer.endpoint) == (2, "b")
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.MALFORMED_JSON,
        Fault.EMPTY_BODY,
        Fault.HTML_BODY,
        Fault.ERROR_OBJECT,
        Fault.RESET_AFTER_HEAD,
        Fault.CUT_BEFORE_CONTENT,
        Fault.ERROR_EVENT_FIRST,
    ],
    ids=str,
)
async def test_a_stream_that_breaks_before_content_is_a_failure(fault: Fault) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await meet(it, fault, STREAM)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]


@BOTH
async def test_an_answer_larger_than_any_is_not_taken(body: Body) -> None:
    limits = Limits(max_response_bytes=1 << 20)
    async with bed(Seller("a"), Seller("b"), limits=limits) as it:
        # One event of a stream has a bound of its own, of 4 MiB.
        await meet(it, Play(Fault.HUGE_BODY, size=8 << 20), body)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]


async def test_an_answer_that_breaks_the_schema_it_was_asked_for_goes_to_the_next_endpoint() -> None:
    body = {**CHAT, **SCHEMA}
    async with bed(Seller("a"), Seller("b")) as it:
        await meet(it, Fault.SCHEMA_VIOLATION, body)
        assert it.outcomes == [("a", "SCHEMA_VIOLATION"), ("b", "SUCCESS")]


async def test_tool_calls_that_nobody_can_carry_out_go_to_the_next_endpoint() -> None:
    body = {**CHAT, **TOOLS}
    async with bed(Seller("a"), Seller("b"), explain=10) as it:
        await meet(it, Fault.SCHEMA_VIOLATION, body)
        assert it.outcomes == [("a", "SCHEMA_VIOLATION"), ("b", "SUCCESS")]
        assert it.ended[0][0].note == "the arguments of a tool call are not a JSON object"


async def test_where_all_break_the_schema_the_last_whole_answer_is_better_than_none() -> None:
    body = {**CHAT, **SCHEMA}
    async with bed(Seller("a")) as it:
        it.sims["a"].script([Fault.SCHEMA_VIOLATION])
        answer = await it.ask(body)
        assert (answer.status, answer.attempts, answer.endpoint) == (200, 1, "a")
        assert answer.text == truth(CHAT)
        assert it.outcomes == [("a", "SCHEMA_VIOLATION")]


# ---- right answers in unusual form -----------------------------------------------------------------------------------

QUIRKS = [
    Fault.SPLIT_BYTES,
    Fault.SPLIT_UTF8,
    Fault.CRLF_LINES,
    Fault.COMMENT_LINES,
    Fault.CHUNKED_BODY,
    Fault.CLOSE_DELIMITED,
    Fault.CONNECTION_CLOSE,
    Fault.INFORMATIONAL,
    Fault.GZIP_BODY,
    Fault.NO_USAGE,
    Fault.OVER_BILLING,
    Fault.NO_DONE,
    Fault.NO_DONE_HELD,
    Fault.STALE_KEEP_ALIVE,
]


@pytest.mark.parametrize("body", [CHAT, STREAM, STREAM_USAGE], ids=["plain", "stream", "usage"])
@pytest.mark.parametrize("fault", QUIRKS, ids=str)
async def test_an_answer_in_an_unusual_form_is_an_answer(fault: Fault, body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([fault])
        for _ in range(2):
            # And the connection it came on, where it is kept, is fit for the next.
            answer = await it.ask(body)
            assert_whole(answer, body)
            assert (answer.attempts, answer.endpoint) == (1, "a")
        assert it.outcomes == [("a", "SUCCESS")] * 2


@BOTH
async def test_an_event_that_is_not_json_is_skipped_and_held_against_the_endpoint(body: Body) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Fault.NON_JSON_EVENT])
        answer = await it.ask(body)
        assert_whole(answer, body)
        assert b"{not json" not in answer.body
        assert (answer.attempts, answer.endpoint) == (1, "a")
        assert it.outcomes == [("a", "FAILURE" if body is STREAM else "SUCCESS")]


# ---- everything exhausted --------------------------------------------------------------------------------------------


@BOTH
async def test_one_error_names_every_attempt_and_why(body: Body) -> None:
    models = [ModelRules("m", pin=("a/m", "b/m", "c/m"), fallback_models=("n",))]
    async with bed(Seller("a"), Seller("b"), Seller("c"), Seller("d", model="n"), models=models) as it:
        it.sims["a"].script([Fault.STATUS_503])
        it.sims["b"].script([Fault.EMPTY_BODY])
        it.sims["c"].script([Fault.STATUS_401])
        it.sims["d"].script([Fault.STATUS_500, Fault.STATUS_502])
        answer = await it.ask(body)
        assert (answer.status, answer.attempts, answer.endpoint) == (502, 5, None)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]
        error = answer.error
        assert (error["type"], error["code"]) == ("server_error", "all_endpoints_failed")
        named = [
            "a/m: unavailable (HTTP 503)",
            "b/m: the answer was cut off"
            if body is STREAM
            else "b/m: answered with something that is not a whole answer",
            "c/m: refused our key, balance or model name (HTTP 401)",
            "d/n: server error (HTTP 500)",
            "d/n: server error (HTTP 502)",
        ]
        assert all(name in error["message"] for name in named), error
        assert it.gateway.stats.requests == {("chat", "5xx"): 1}


async def test_endpoints_believed_out_are_asked_before_a_client_is_refused() -> None:
    async with bed(Seller("a")) as it:
        await it.sims["a"].switch(Fault.STATUS_503)
        for _ in range(4):
            assert (await it.ask(CHAT)).status == 502
        assert it.row("a").state == "out"
        await it.sims["a"].switch(None)
        assert_whole(await it.ask(CHAT), CHAT)
