"""Requests through a real gateway, explained afterwards."""

from __future__ import annotations

import msgspec
import pytest

from providerrank.gateway.ring import Ring
from providerrank.rules.explanation import Explanation
from providerrank.sim.faults import Fault
from tests.integration.gateway_bed import (
    CHAT,
    PREFILL,
    STREAM,
    TEXT,
    TEXT_PATH,
    Answer,
    Bed,
    Body,
    Seller,
    bed,
    post,
    until,
)

BOTH = pytest.mark.parametrize("body", [CHAT, STREAM], ids=["plain", "stream"])
SECRET = "xyzzy-42"
KEY = "sk-endpoint-b81e52"


def get_ring(it: Bed) -> Ring:
    assert it.gateway.ring is not None
    return it.gateway.ring


def explain(it: Bed, answer: Answer) -> Explanation:
    found = get_ring(it).find(answer.headers["x-request-id"])
    assert found is not None
    return found


@BOTH
async def test_a_request_that_works(body: Body) -> None:
    async with bed(Seller("a"), Seller("b"), explain=10) as it:
        explanation = explain(it, await it.ask(body))
        assert (explanation.status, explanation.endpoint, explanation.stream) == (200, "a/m", body is STREAM)
        [attempt] = explanation.attempts
        assert (attempt.why, attempt.outcome) == ("pin", "answered")
        assert attempt.ended_s is not None
        assert attempt.first_content_s is not None
        assert 0 <= attempt.started_s <= attempt.first_content_s <= attempt.ended_s <= explanation.total_s
        assert explanation.ttft_s == attempt.first_content_s
        assert explanation.input_tokens > 0
        assert explanation.output_tokens == 24
        assert explanation.cost_usd > 0
        assert [one.verdict for one in explanation.models[0].candidates] == ["answered", "peer"] or [
            one.verdict for one in explanation.models[0].candidates
        ] == ["answered", "behind"]


@BOTH
async def test_a_request_that_falls_back(body: Body) -> None:
    async with bed(Seller("a"), Seller("b"), explain=10) as it:
        it.sims["a"].script([Fault.STATUS_503])
        explanation = explain(it, await it.ask(body))
        assert [(one.endpoint, one.outcome, one.status) for one in explanation.attempts] == [
            ("a/m", "unavailable", 503),
            ("b/m", "answered", None),
        ]
        assert explanation.summary.startswith("Answered by b/m at the second attempt")


async def test_a_stream_that_is_continued_and_one_that_is_broken_off() -> None:
    async with bed(Seller("a", features=PREFILL), Seller("b", features=PREFILL), explain=10) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        explanation = explain(it, await it.ask(STREAM))
        assert [(one.outcome, one.continues) for one in explanation.attempts] == [("cut", False), ("answered", True)]
        assert explanation.ttft_s is not None
        first = explanation.attempts[1].first_content_s
        assert first is not None
        assert explanation.ttft_s < first
    async with bed(Seller("a"), explain=10) as it:
        it.sims["a"].script([Fault.CUT_ABORT, Fault.STATUS_503])
        explanation = explain(it, await it.ask(STREAM))
        assert explanation.status == 502
        assert explanation.summary.startswith("The stream was broken off with an error event")


async def test_a_client_that_leaves() -> None:
    async with bed(Seller("a"), explain=10) as it:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        async with it.wire() as wire:
            wire.send(post(CHAT, headers={"x-request-id": "mine"}))
            await until(lambda: it.gateway.stats.in_flight["a/m"])
        await until(lambda: len(get_ring(it)))
        found = get_ring(it).find("mine")
        assert found is not None
        assert (found.status, found.attempts[0].outcome) == (499, "abandoned")


async def test_refusals_are_explained_too() -> None:
    async with bed(Seller("a", features=frozenset()), explain=10) as it:
        answer = await it.ask({**CHAT, "provider": {"only": ["nobody"]}})
        assert answer.status == 400
        explanation = explain(it, answer)
        assert explanation.models[0].candidates[0].excluded_by == ("only",)
        assert answer.error["message"] in explanation.summary
        answer = await it.ask({**CHAT, "model": "unheard-of"})
        assert explain(it, answer).summary == "Refused with 404 without asking any endpoint: model not found."
        answer = await it.ask({**CHAT, "messages": 3})
        assert explain(it, answer).status == 400


async def test_who_may_not_call_is_not_remembered() -> None:
    async with bed(Seller("a"), keys=("sk-one",), explain=10) as it:
        assert (await it.ask(CHAT)).status == 401
        assert len(get_ring(it)) == 0


async def test_the_oldest_goes_first() -> None:
    async with bed(Seller("a"), explain=3) as it:
        for name in "abcde":
            await it.ask(CHAT, headers={"x-request-id": name})
        ring = get_ring(it)
        assert (len(ring), ring.size) == (3, 3)
        assert ring.find("b") is None
        assert ring.find("c") is not None
        assert [brief.request_id for brief in ring.get_latest(2)] == ["e", "d"]
        assert ring.find("\udcff") is None


async def test_of_two_requests_with_one_id_the_later_is_shown() -> None:
    async with bed(Seller("a"), Seller("b"), explain=3) as it:
        await it.ask(CHAT, headers={"x-request-id": "same"})
        it.sims["a"].script([Fault.STATUS_503])
        await it.ask(CHAT, headers={"x-request-id": "same"})
        found = get_ring(it).find("same")
        assert found is not None
        assert found.endpoint == "b/m"


async def test_without_a_ring_nothing_is_remembered() -> None:
    async with bed(Seller("a")) as it:
        await it.ask(CHAT)
        assert it.gateway.ring is None


@BOTH
@pytest.mark.parametrize(
    "fault",
    [
        Fault.STATUS_400,
        Fault.STATUS_401,
        Fault.STATUS_500,
        Fault.STATUS_503,
        Fault.CONTENT_POLICY,
        Fault.CONTEXT_LENGTH,
        Fault.ERROR_OBJECT,
        Fault.MALFORMED_JSON,
        Fault.HTML_BODY,
    ],
)
async def test_no_prompt_answer_or_key_is_told(body: Body, fault: Fault) -> None:
    asked = {**body, "messages": [{"role": "user", "content": f"My secret is {SECRET}"}]}
    async with bed(Seller("a", key=KEY), Seller("b", key=KEY), explain=10) as it:
        it.sims["a"].script([fault])
        answer = await it.ask(asked)
        explanation = explain(it, answer)
        told = msgspec.json.encode(explanation).decode()
        assert SECRET not in told
        assert KEY not in told
        if answer.status == 200:
            assert answer.text not in told
        if fault.value.startswith("status"):
            said = it.ended[0][0].detail
            assert said
            assert said not in told


async def test_an_endpoint_that_quotes_the_request_is_not_quoted() -> None:
    """Its sentence goes to the client, who wrote it; what is kept is its code."""
    from tests.integration.test_gateway_secrets import _Quoting, quoting

    said = b'{"error":{"message":"Invalid input: %b","type":"invalid_request_error","code":"bad_thing"}}'
    for code in (b"bad_thing", f"My secret is {SECRET}".encode(), KEY.upper().encode()):
        template = (said % SECRET.encode()).replace(b"bad_thing", code)
        async with (
            quoting(_Quoting(template, b"500 No")) as url,
            bed(Seller("a", url=url, key=KEY), Seller("b"), explain=1) as it,
        ):
            told = msgspec.json.encode(explain(it, await it.ask(CHAT))).decode()
            assert SECRET not in told
            assert KEY not in told.lower()
            assert ("bad_thing" in told) == (code == b"bad_thing")


async def test_other_apis_and_names_a_client_gives() -> None:
    headers = {"x-providerrank-session": "s" * 300, "x-providerrank-task": "code"}
    async with bed(Seller("a"), explain=10) as it:
        explanation = explain(it, await it.ask(TEXT, TEXT_PATH, headers))
        assert (explanation.api, explanation.task) == ("completions", "code")
        assert explanation.session == "s" * 128
