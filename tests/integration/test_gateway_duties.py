"""What the gateway owes a client: its paths, its refusals, who may call, and what a request may ask of its route."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket

import pytest

from providerrank.gateway.settings import Limits
from providerrank.rules.attempt import Attempt
from providerrank.rules.catalog import Buyer, ModelRules, Tier
from providerrank.rules.cells import Price
from providerrank.rules.observation import Observation
from providerrank.rules.ranking import Weights
from providerrank.sim.faults import Fault
from providerrank.sim.spec import EndpointSpec
from tests.integration.gateway_bed import (
    CHAT,
    SCHEMA,
    STREAM,
    TEXT,
    TEXT_PATH,
    TOOLS,
    Answer,
    Body,
    Seller,
    assert_whole,
    bed,
    get,
    post,
    until,
)

# ---- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_completions(stream: bool) -> None:
    body = {**TEXT, "stream": stream}
    async with bed(Seller("a")) as it:
        answer = await it.ask(body, TEXT_PATH)
        assert_whole(answer, body)
        [sent] = it.sims["a"].log
        assert sent.path == "/v1/completions"
        assert sent.json()["prompt"] == TEXT["prompt"]
        assert it.gateway.stats.requests == {("completions", "2xx"): 1}


async def test_models() -> None:
    async with bed(Seller("a"), Seller("b", model="n")) as it:
        answer = await it.fetch(get("/v1/models"))
        assert answer.status == 200
        assert answer.json()["object"] == "list"
        models = answer.json()["data"]
        assert {one["id"] for one in models} == {"m", "n"}
        # Beside OpenAI's fields those of Anthropic's list: one answer serves the clients of both.
        assert all({"id", "object", "created", "owned_by", "type", "display_name"} <= set(one) for one in models)
        assert answer.json()["has_more"] is False


async def test_health_needs_no_key() -> None:
    async with bed(Seller("a"), keys=("sk-right",)) as it:
        answer = await it.fetch(get("/health"))
        assert (answer.status, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/v1/models", 200), ("/v1/chat/completions", 405)])
async def test_what_is_asked_for_its_head_only_has_no_body(path: str, status: int) -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        wire.send(get(path, method="HEAD"))
        head = await wire.read()
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert head.endswith(b"\r\n\r\n")
        assert b"Content-Length: 0" not in head
        assert (await wire.ask(CHAT)).status == 200, "the connection goes on where the head ended"


async def test_a_compressed_body_is_told_what_is_wrong_with_it() -> None:
    async with bed(Seller("a")) as it:
        packed = gzip.compress(json.dumps(CHAT).encode())
        answer = await it.fetch(post(packed, headers={"Content-Encoding": "gzip"}))
        assert "'gzip'" in check_error(answer, 415, "invalid_request_error", "unsupported_content_encoding")
        assert (await it.ask(CHAT, headers={"Content-Encoding": "identity"})).status == 200


async def test_an_alias_is_a_name_of_the_model() -> None:
    async with bed(Seller("a"), models=[ModelRules("m", aliases=("default",))]) as it:
        assert_whole(await it.ask({**CHAT, "model": "default"}), CHAT)
        assert it.received("a")[0]["model"] == "upstream-m"


async def test_a_path_may_have_a_query() -> None:
    async with bed(Seller("a")) as it:
        assert_whole(await it.ask(CHAT, "/v1/chat/completions?api-version=1"), CHAT)


def check_error(answer: Answer, status: int, kind: str, code: str) -> str:
    """An error in OpenAI's shape; returns its message."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error = answer.error
    assert (error["type"], error["code"]) == (kind, code)
    message = error["message"]
    assert isinstance(message, str)
    return message


async def test_an_unknown_path() -> None:
    async with bed(Seller("a")) as it:
        answer = await it.fetch(post(CHAT, "/v2/chat"))
        assert "/v2/chat" in check_error(answer, 404, "invalid_request_error", "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_a_method_that_is_not_taken(method: str) -> None:
    async with bed(Seller("a")) as it:
        answer = await it.fetch(get("/v1/chat/completions", method=method))
        check_error(answer, 405, "invalid_request_error", "method_not_allowed")
        assert answer.headers["allow"] == "POST"
        answer = await it.fetch(get("/v1/models", method="DELETE"))
        check_error(answer, 405, "invalid_request_error", "method_not_allowed")
        assert answer.headers["allow"] == "GET"


async def test_an_unknown_model_is_told_the_known_ones() -> None:
    async with bed(Seller("a"), Seller("b", model="n")) as it:
        answer = await it.ask({**CHAT, "model": "gpt-17"})
        message = check_error(answer, 404, "invalid_request_error", "model_not_found")
        assert "gpt-17" in message
        assert "m, n" in message or "n, m" in message
        assert answer.error["param"] == "model"


# ---- who may call ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer sk-one"}, {"Authorization": "bearer sk-two"}, {"x-api-key": "sk-two"}],
    ids=str,
)
async def test_any_of_the_keys_opens(headers: dict[str, str]) -> None:
    async with bed(Seller("a"), keys=("sk-one", "sk-two")) as it:
        assert_whole(await it.ask(CHAT, headers=headers), CHAT)
        assert (await it.fetch(get("/v1/models", headers))).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer sk-on"},
        {"Authorization": "Bearer sk-one-more"},
        {"Authorization": "Bearer "},
        {"Authorization": "sk-one"},
        {"Authorization": "Basic sk-one"},
        {"x-api-key": ""},
        {"x-api-key": "Bearer sk-one"},
    ],
    ids=str,
)
async def test_a_wrong_key_is_refused_without_a_hint(headers: dict[str, str]) -> None:
    async with bed(Seller("a"), keys=("sk-one", "sk-two")) as it:
        for data in (post(CHAT, headers=headers), get("/v1/models", headers), post(CHAT, "/v2/nowhere", headers)):
            answer = await it.fetch(data)
            message = check_error(answer, 401, "authentication_error", "invalid_api_key")
            assert message == "Incorrect API key provided."
        assert it.sims["a"].log.requests == 0


async def test_without_keys_only_this_machine_may_call() -> None:
    async with bed(Seller("a"), host="0.0.0.0") as it:
        address = get_own_address()
        reader, writer = await asyncio.open_connection(address, it.gateway.port)
        writer.write(post(CHAT))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        assert b"gateway.keys" in await reader.read(1000)
        writer.close()
        assert_whole(await it.ask(CHAT), CHAT)
        assert it.sims["a"].log.requests == 1


def get_own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; a route is enough
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    assert isinstance(address, str)
    return address


STRANGERS = [
    "https://example.com",
    "http://localhost.example.com",
    "http://127.0.0.1.example.com:80",
    "null",
    "http://example.com:8080/localhost",
]
LOCALS = [
    "http://localhost:3000",
    "http://localhost",
    "https://127.0.0.1:8443",
    "http://[::1]:3000",
    "http://[::1]",
]
NO_OBJECTS = [b"", b"{", b"[]", b'"m"', b"\xff\xfe", b'{"model": "m", "messages": ', b"[" * 100_000]


@pytest.mark.parametrize("origin", STRANGERS)
async def test_without_keys_web_pages_of_other_sites_are_refused(origin: str) -> None:
    async with bed(Seller("a")) as it:
        answer = await it.ask(CHAT, headers={"Origin": origin})
        check_error(answer, 403, "permission_error", "origin_refused")
        assert it.sims["a"].log.requests == 0


@pytest.mark.parametrize("origin", LOCALS)
async def test_without_keys_a_page_of_this_machine_may_call(origin: str) -> None:
    async with bed(Seller("a")) as it:
        assert_whole(await it.ask(CHAT, headers={"Origin": origin}), CHAT)


async def test_with_a_key_it_does_not_matter_what_page_calls() -> None:
    async with bed(Seller("a"), keys=("sk-one",)) as it:
        headers = {"Origin": "https://example.com", "Authorization": "Bearer sk-one"}
        assert_whole(await it.ask(CHAT, headers=headers), CHAT)


# ---- requests that can not be routed ---------------------------------------------------------------------------------


async def test_nothing_under_the_cap_says_so_and_names_the_cheapest() -> None:
    buyer = Buyer(price_cap=Price.from_usd(1, 1), exploration=0.0)
    async with bed(Seller("a", price=3.0), Seller("b", price=2.0), buyer=buyer) as it:
        answer = await it.ask(CHAT)
        message = check_error(answer, 400, "invalid_request_error", "no_endpoint_fits")
        assert "price_cap excludes 2" in message
        assert "b/m" in message
        assert "$2 in, $2 out" in message


@pytest.mark.parametrize(
    ("changes", "param", "said"),
    [
        ({"model": None}, "model", "'model' is not a string"),
        ({"model": ["m"]}, "model", "'model' is not a string"),
        ({"messages": "Hello"}, "messages", "'messages' is not a list"),
        ({"messages": []}, "messages", "at least one message"),
        ({"stream": "yes"}, "stream", "'stream' is not true or false"),
        ({"max_tokens": "many"}, "max_tokens", "'max_tokens' is not a whole number"),
        ({"max_tokens": -1}, "max_tokens", "at least 1"),
        ({"stream_options": 1}, "stream_options", "'stream_options' is not an object"),
        ({"response_format": "json"}, "response_format", "'response_format' is not an object"),
        ({"models": "n"}, "models", "'models' is not a list of model names"),
        ({"provider": []}, "provider", "'provider' is not a provider object"),
        ({"provider": {"order": "a"}}, "provider", "'provider.order' is not a provider object"),
        ({"provider": {"sort": "beauty"}}, "provider", "'provider.sort'"),
        ({"provider": {"max_price": {"prompt": -1}}}, "provider", "'provider.max_price.prompt'"),
    ],
    ids=str,
)
async def test_a_field_of_the_wrong_type_is_named(changes: Body, param: str, said: str) -> None:
    async with bed(Seller("a")) as it:
        answer = await it.ask({**CHAT, **changes})
        assert answer.status == 400, answer.body
        assert answer.error["param"] == param
        assert said in answer.error["message"]
        assert it.sims["a"].log.requests == 0


@pytest.mark.parametrize("body", NO_OBJECTS, ids=range(len(NO_OBJECTS)))
async def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    async with bed(Seller("a")) as it:
        answer = await it.fetch(post(body))
        assert answer.status == 400
        assert "JSON" in answer.error["message"]


@pytest.mark.parametrize("field", ["model", "messages"])
async def test_a_missing_field_is_named(field: str) -> None:
    async with bed(Seller("a")) as it:
        answer = await it.ask({name: value for name, value in CHAT.items() if name != field})
        check_error(answer, 400, "invalid_request_error", "missing_required_parameter")
        assert answer.error["param"] == field


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() -> None:
    async with bed(Seller("a"), limits=Limits(max_body_bytes=10_000)) as it, it.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 10001\r\n\r\n")
        answer = await wire.answer()
        assert answer.status == 413
        assert "10000" in answer.error["message"]
        assert answer.error["code"] == "request_too_large"
        assert answer.headers["connection"] == "close"
        assert await wire.is_closed()


async def test_a_body_that_grows_too_large_is_refused() -> None:
    async with bed(Seller("a"), limits=Limits(max_body_bytes=10_000)) as it, it.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        wire.send((b"1000\r\n" + b" " * 0x1000 + b"\r\n") * 2)
        answer = await wire.answer()
        assert answer.status == 413
        assert answer.error["code"] == "request_too_large"
        assert await wire.is_closed()


async def test_a_client_that_sends_all_of_a_body_too_large_still_reads_why() -> None:
    body = {**CHAT, "messages": [{"role": "user", "content": "x" * 4_000_000}]}
    async with bed(Seller("a"), limits=Limits(max_body_bytes=1_000_000)) as it:
        # As HTTP clients do: everything is written before anything is read.
        answer = await it.ask(body)
        assert answer.status == 413


async def test_a_body_of_the_largest_size_is_taken() -> None:
    data = json.dumps(CHAT).encode()
    async with bed(Seller("a"), limits=Limits(max_body_bytes=len(data))) as it:
        assert_whole(await it.fetch(post(data)), CHAT)


async def test_past_the_most_requests_at_once_a_client_is_told_to_come_back() -> None:
    async with bed(Seller("a"), limits=Limits(max_pending=2)) as it, it.wire() as one, it.wire() as two:
        await it.sims["a"].switch(Fault.HANG_BEFORE_HEAD)
        one.send(post(CHAT))
        two.send(post(STREAM))
        await until(lambda: it.sims["a"].log.in_flight == 2)
        answer = await it.ask(CHAT)
        check_error(answer, 503, "server_error", "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await it.fetch(get("/health"))).status == 200
        await one.close()
        await until(lambda: it.sims["a"].log.in_flight == 1)
        await it.sims["a"].switch(None)
        assert_whole(await it.ask(CHAT), CHAT)


async def test_a_mistake_of_ours_is_a_500_and_nothing_of_the_request_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(attempt: Attempt, observation: Observation) -> None:
        raise RuntimeError("a mistake of ours")

    caplog.set_level(0)
    for body in (CHAT, STREAM):
        async with bed(Seller("a"), Seller("b")) as it:
            it.gateway._on_attempt = fail
            it.sims["a"].script([Fault.STATUS_500])
            answer = await asyncio.wait_for(it.ask(body), 5)
            assert answer.status == 500
            assert answer.error["code"] == "internal_error"
            assert "mistake" not in answer.error["message"]
            it.gateway._on_attempt = None
            assert_whole(await it.ask(body), body)
    assert "a mistake of ours" in caplog.text
    assert "Say something" not in caplog.text


# ---- what a request asks of its route --------------------------------------------------------------------------------


async def test_what_is_meant_for_the_gateway_is_not_forwarded() -> None:
    ours: Body = {"provider": {"order": ["b"], "allow_fallbacks": True}, "models": ["n"]}
    async with bed(Seller("a"), Seller("b"), Seller("c", model="n")) as it:
        answer = await it.ask({**CHAT, **ours, "seed": 7, "user": "u"})
        assert_whole(answer, CHAT)
        assert it.received("b") == [{**CHAT, "seed": 7, "user": "u", "model": "upstream-m"}]


async def test_every_other_field_is_forwarded_as_it_came() -> None:
    fields = {"temperature": 0.70000000000000001, "x_unknown": {"deep": [1, None, "é"]}, "logit_bias": {"1": -100}}
    async with bed(Seller("a")) as it:
        body = json.dumps({**CHAT, **fields}).encode()
        assert (await it.fetch(post(body))).status == 200
        [sent] = it.sims["a"].log
        assert sent.json() == {**CHAT, **fields, "model": "upstream-m"}
        assert b'"x_unknown":{"deep": [1, null, "\\u00e9"]}' in sent.body


async def test_a_stream_is_asked_for_its_usage_and_the_client_sees_it_only_where_it_asked() -> None:
    async with bed(Seller("a")) as it:
        answer = await it.ask(STREAM)
        assert it.received("a")[0]["stream_options"] == {"include_usage": True}
        assert answer.usages == []
        assert it.ended[0][1].output_tokens_billed == 24


@pytest.mark.parametrize(
    ("provider", "who"),
    [
        ({"order": ["c", "b"]}, "c"),
        ({"only": ["B"]}, "b"),
        ({"ignore": ["a"]}, "b"),
        ({"ignore": ["a/m", "b/m"]}, "c"),
        ({"sort": "price"}, "c"),
        ({"max_price": {"prompt": 1, "completion": 1}}, "c"),
        ({"require_parameters": True}, "b"),
    ],
    ids=str,
)
async def test_openrouters_provider_object(provider: Body, who: str) -> None:
    sellers = (
        Seller("a", price=3.0, features=frozenset()),
        Seller("b", price=2.0),
        Seller("c", price=1.0, features=frozenset()),
    )
    async with bed(*sellers) as it:
        extra: Body = {"logprobs": True} if "require_parameters" in provider else {}
        answer = await it.ask({**CHAT, "provider": provider, **extra})
        assert (answer.status, answer.endpoint) == (200, who)


async def test_without_fallbacks_only_the_first_choice_is_asked() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["b"].script([Fault.STATUS_503])
        body = {**CHAT, "provider": {"order": ["b"], "allow_fallbacks": False}}
        answer = await it.ask(body)
        assert (answer.status, answer.attempts) == (502, 1)
        assert it.outcomes == [("b", "FAILURE")]


async def test_a_maximum_price_that_nobody_meets_names_the_cheapest() -> None:
    async with bed(Seller("a", price=3.0)) as it:
        answer = await it.ask({**CHAT, "provider": {"max_price": {"prompt": 1}}})
        assert "max_price excludes 1" in check_error(answer, 400, "invalid_request_error", "no_endpoint_fits")
        assert "$3 in" in answer.error["message"]


async def test_the_requests_own_models_are_its_fallbacks() -> None:
    async with bed(Seller("a"), Seller("b", model="n"), Seller("c", model="o")) as it:
        it.sims["a"].script([Fault.STATUS_503])
        it.sims["b"].script([Fault.STATUS_503])
        answer = await it.ask({**CHAT, "models": ["nobody-has-this", "n", "o"]})
        assert_whole(answer, CHAT)
        assert answer.headers["x-providerrank-endpoint"] == "c/o"


async def test_a_tier_has_its_own_price_and_weights() -> None:
    buyer = Buyer(price_cap=Price.from_usd(1, 1), exploration=0.0)
    tiers = [
        Tier("high", price_cap_factor=10.0, weights=Weights(1.0, 0.0)),
        Tier("best-effort", weights=Weights(0.0, 1.0)),
    ]
    async with bed(Seller("dear", price=5.0), Seller("cheap", price=0.1), buyer=buyer, tiers=tiers) as it:
        # Pinned, and over the cap but in the tier that takes it.
        assert (await it.ask(CHAT)).endpoint == "cheap"
        assert (await it.ask(CHAT, headers={"x-providerrank-tier": "high"})).endpoint == "dear"
        assert (await it.ask(CHAT, headers={"X-ProviderRank-Tier": "best-effort"})).endpoint == "cheap"
        answer = await it.ask(CHAT, headers={"x-providerrank-tier": "golden"})
        assert "high, best-effort" in check_error(answer, 400, "invalid_request_error", "invalid_value")


@pytest.mark.parametrize(
    ("extra", "headers", "task"),
    [
        ({}, {}, "chat"),
        (TOOLS, {}, "tools"),
        (SCHEMA, {}, "json"),
        (TOOLS, {"x-providerrank-task": "code"}, "code"),
        ({"messages": [{"role": "user", "content": "word " * 20_000}]}, {}, "long-context"),
    ],
    ids=["chat", "tools", "json", "header", "long-context"],
)
async def test_the_task_of_a_request(extra: Body, headers: dict[str, str], task: str) -> None:
    async with bed(Seller("a")) as it:
        assert (await it.ask({**CHAT, **extra}, headers=headers)).status == 200
        [(_, seen)] = it.ended
        assert seen.task == task


async def test_a_named_session_remembers_for_itself() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        router = it.gateway.router
        it.sims["a"].script([Fault.STATUS_503])
        await it.ask(CHAT, headers={"x-providerrank-session": "mine"})
        [a, _] = router.ranking("m", it.gateway.now_us(), session="mine").rows
        [usual, _] = router.ranking("m", it.gateway.now_us()).rows
        assert len(router._sessions) == 1
        assert {a.endpoint.id, usual.endpoint.id} == {"b/m"}
        await it.ask(CHAT)
        assert len(router._sessions) == 1


async def test_an_endpoint_is_not_asked_for_what_it_lacks() -> None:
    async with bed(Seller("a", features=frozenset()), Seller("b")) as it:
        for extra in (TOOLS, SCHEMA):
            assert (await it.ask({**CHAT, **extra})).endpoint == "b"
        assert (await it.ask(CHAT)).endpoint == "a"


async def test_a_prompt_is_not_sent_where_it_can_not_fit() -> None:
    body = {**CHAT, "messages": [{"role": "user", "content": "word " * 8_000}]}
    async with bed(Seller("a", context_window=4096), Seller("b", context_window=32_768)) as it:
        assert (await it.ask(body)).endpoint == "b"
        answer = await it.ask({**body, "max_tokens": 30_000})
        message = check_error(answer, 400, "invalid_request_error", "no_endpoint_fits")
        assert "context excludes 2" in message


async def test_ranked_and_unpinned_the_better_one_is_found() -> None:
    slow = EndpointSpec(name="slow", success=0.3)
    async with bed(Seller("slow", spec=slow), Seller("good"), pinned=False) as it:
        for _ in range(30):
            assert_whole(await it.ask(CHAT), CHAT)
        assert it.sims["good"].log.requests > it.sims["slow"].log.requests
