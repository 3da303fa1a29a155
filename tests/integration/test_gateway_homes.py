"""A conversation that its endpoint keeps is gone on with there, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providerrank.rules.cells import ASSUMED_FEATURES
from providerrank.sim.faults import Fault
from providerrank.sim.spec import EndpointSpec
from tests.integration.gateway_bed import Bed, Body, Seller, bed

PATH = "/v1/responses"
ASK: Body = {"model": "m", "input": "Say something. [[tokens=8]]"}


def seller(name: str) -> Seller:
    return Seller(
        name,
        features=ASSUMED_FEATURES | {"responses"},
        spec=EndpointSpec(name=name, apis=("chat", "responses")),
    )


def read_id(answer: Any) -> str:  # an Answer, whole or streamed
    """The id of a Response."""
    body = answer.body.decode()
    if not answer.is_stream:
        return str(json.loads(body)["id"])
    first = next(line for line in body.splitlines() if line.startswith("data: "))
    return str(json.loads(first[6:])["response"]["id"])


async def begin(it: Bed, *, stream: bool) -> str:
    """Have ``b`` answer; the id under which it goes on."""
    it.sims["a"].script([Fault.STATUS_503])
    answer = await it.ask({**ASK, "stream": stream}, PATH)
    assert answer.endpoint == "b"
    return read_id(answer)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_is_gone_on_from_where_it_was_given(stream: bool) -> None:
    async with bed(seller("a"), seller("b")) as it:
        first = await begin(it, stream=stream)
        for _ in range(2):
            answer = await it.ask({**ASK, "previous_response_id": first, "stream": stream}, PATH)
            assert (answer.status, answer.endpoint, answer.attempts) == (200, "b", 1)
            assert it.received("b")[-1]["previous_response_id"] == first
            first = read_id(answer)
        # And anything else goes where it would have gone.
        assert (await it.ask(ASK, PATH)).endpoint == "a"


async def test_where_it_was_given_is_out_nobody_else_is_asked() -> None:
    async with bed(seller("a"), seller("b")) as it:
        first = await begin(it, stream=False)
        asked = it.sims["a"].log.requests
        it.sims["b"].script([Fault.STATUS_503])
        answer = await it.ask({**ASK, "previous_response_id": first}, PATH)
        assert answer.status == 502
        assert answer.error["message"].endswith("The answer it goes on from is kept by b/m alone.")
        assert it.sims["a"].log.requests == asked


async def test_what_no_longer_fits_says_why_nobody_else_is_asked() -> None:
    async with bed(seller("a"), seller("b")) as it:
        first = await begin(it, stream=False)
        answer = await it.ask({**ASK, "previous_response_id": first, "provider": {"ignore": ["b"]}}, PATH)
        assert answer.status == 400
        assert "kept by b/m alone" in answer.error["message"]


async def test_the_clients_own_choice_stands() -> None:
    async with bed(seller("a"), seller("b")) as it:
        first = await begin(it, stream=False)
        answer = await it.ask({**ASK, "previous_response_id": first, "provider": {"only": ["a"]}}, PATH)
        assert answer.endpoint == "a"


async def test_an_answer_nobody_remembers_is_gone_on_from_wherever_its_api_is_spoken() -> None:
    async with bed(Seller("chat"), seller("a"), seller("b")) as it:
        answer = await it.ask({**ASK, "previous_response_id": "resp_of_yesterday"}, PATH)
        assert answer.endpoint == "a"
    async with bed(Seller("chat")) as it:
        answer = await it.ask({**ASK, "previous_response_id": "resp_of_yesterday"}, PATH)
        assert answer.status == 400
        assert "'responses' can take previous_response_id" in answer.error["message"]


async def test_a_translated_answer_is_nobodys_to_go_on_from() -> None:
    async with bed(Seller("chat"), seller("a")) as it:
        first = read_id(await it.ask(ASK, PATH))
        answer = await it.ask({**ASK, "previous_response_id": first}, PATH)
        assert answer.endpoint == "a", "the only one that may know it, and will say if it does not"


async def test_a_stream_that_another_had_to_finish_is_not_remembered() -> None:
    async with bed(seller("a"), seller("b")) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        answer = await it.ask({**ASK, "stream": True}, PATH)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]
        assert it.gateway.homes._homes == {}
        assert read_id(answer)


# ---- Anthropic's threads ---------------------------------------------------------------------------------------------

TURN: Body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello [[tokens=4]]"}]}


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
async def test_a_thread_nobody_can_keep_is_refused_as_clients_understand_it(thread: dict[str, str]) -> None:
    async with bed(Seller("a")) as it:
        answer = await it.ask({**TURN, "thread": thread}, "/v1/messages")
        assert answer.status == 400
        assert answer.json()["error"]["details"] == {
            "error_code": "thread_unsupported_request",
            "unsupported": ["thread"],
        }
