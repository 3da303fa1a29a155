"""Every API a client can speak, before every kind of endpoint: served whole, streamed, with tools, to a schema.

Held at each: the answer as a strict reader of that API sees it, to the character; which API the endpoint was asked in;
what was learned, counted and billed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from providerrank.gateway.settings import Clocks, Limits
from providerrank.rules.cells import ASSUMED_FEATURES
from providerrank.sim.faults import Fault, Play
from providerrank.sim.questions import PATHS, Question
from providerrank.sim.readers import Seen, read_reply
from providerrank.sim.spec import ApiName
from tests.integration.gateway_bed import Answer, Bed, Seller, bed, post, until

OPENAI: tuple[ApiName, ...] = ("chat", "completions", "embeddings")
ANTHROPIC = frozenset({"tools", "json_schema", "vision", "messages"})


def seller(kind: str, name: str = "a", prefill: bool = False) -> Seller:
    """An endpoint of one of ``KINDS``; each demands its key as its maker does."""
    more = frozenset({"prefill"}) if prefill else frozenset[str]()
    key = f"sk-{name}"
    if kind == "anthropic":
        return Seller(name, features=ANTHROPIC | more, apis=("messages",), dialect="anthropic", key=key)
    if kind == "undeclared":
        return Seller(name, features=ANTHROPIC | more, apis=("messages",), key=key)
    natives: dict[str, tuple[ApiName, ...]] = {"responses": ("responses",), "messages": ("messages",)}
    native = natives.get(kind, ())
    return Seller(name, features=ASSUMED_FEATURES | more | frozenset(native), apis=OPENAI + native, key=key)


KINDS = ("chat", "responses", "messages", "anthropic", "undeclared")
TRANSLATED: tuple[ApiName, ...] = ("chat", "responses", "messages")
OLDER: tuple[ApiName, ...] = ("completions", "embeddings")
SERVED = [(api, kind) for api in TRANSLATED for kind in KINDS] + [(api, kind) for api in OLDER for kind in KINDS[:3]]
EACH = pytest.mark.parametrize(("api", "kind"), SERVED, ids=[f"{api}-before-{kind}" for api, kind in SERVED])
ASKED = pytest.mark.parametrize("asked", ["text", "tools", "schema"])
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
WORDS = "Say something. [[tokens=24]]"


def asked_in(api: ApiName, kind: str) -> str:
    """The path an endpoint is asked at."""
    if kind in ("anthropic", "undeclared"):
        return "/v1/messages"
    return PATHS[api] if api in OLDER or kind == api else "/v1/chat/completions"


async def put(it: Bed, api: ApiName, question: Question) -> tuple[Answer, Seen]:
    answer = await it.ask(question.ask(api), PATHS[api])
    assert answer.whole
    assert answer.headers["x-request-id"]
    return answer, read_reply(api, answer.status, answer.headers, answer.body, question.is_streamed(api))


def assert_truth(seen: Seen, api: ApiName, question: Question) -> None:
    assert seen.error is None, seen
    assert (seen.text, seen.tool, seen.finish) == question.truth(api)
    if not question.stream or api in ("responses", "messages") or question.usage:
        assert seen.usage is not None
        assert seen.usage[0] > 0


@EACH
@ASKED
@BOTH
async def test_every_client_is_served_by_every_kind_of_endpoint(
    api: ApiName, kind: str, asked: str, stream: bool
) -> None:
    question = Question(WORDS, asked, stream, usage=True, system="Be brief." if api in TRANSLATED else None)
    if api in OLDER and asked != "text":
        return
    async with bed(seller(kind)) as it:
        answer, seen = await put(it, api, question)
        assert_truth(seen, api, question)
        assert (answer.attempts, answer.endpoint) == (1, "a")
        assert it.sims["a"].log.last.path == asked_in(api, kind)
        assert it.outcomes == [("a", "SUCCESS")]
        [(_, observed)] = it.ended
        assert seen.usage == (observed.input_tokens, observed.output_tokens_billed or 0)
        stats = it.gateway.targets["a/m"].stats
        assert (stats.input_tokens, stats.output_tokens) == seen.usage
        assert stats.cost_nusd == sum(seen.usage) * 1000  # 1 USD per million tokens


@EACH
@BOTH
async def test_an_answer_cut_by_its_limit_says_so_in_every_api(api: ApiName, kind: str, stream: bool) -> None:
    if api == "embeddings":
        return
    question = Question(WORDS, stream=stream, usage=True, limit=7)
    async with bed(seller(kind)) as it:
        _, seen = await put(it, api, question)
        assert seen.finish == "length"
        assert_truth(seen, api, question)
        assert seen.usage is not None
        assert seen.usage[1] == 7


# ---- cut streams continued across dialects ---------------------------------------------------------------------------

CUTS = [
    Fault.CUT_ABORT,
    Fault.CUT_CLEAN,
    Fault.ERROR_EVENT_MIDWAY,
    Fault.NO_FINISH,
    Fault.TRUNCATED_BODY,
    Fault.CUT_JSON,
]


@pytest.mark.parametrize("api", TRANSLATED)
@pytest.mark.parametrize("first", KINDS[:4])
@pytest.mark.parametrize("second", KINDS[:4])
@pytest.mark.parametrize("prefill", [False, True], ids=["restart", "prefill"])
async def test_a_cut_stream_goes_on_wherever_the_next_endpoint_speaks(
    api: ApiName, first: str, second: str, prefill: bool
) -> None:
    question = Question(WORDS, stream=True, usage=True)
    for after in (1, 2, 11, 12, 23, 24):
        async with bed(seller(first), seller(second, "b", prefill)) as it:
            it.sims["a"].script([Play(Fault.CUT_ABORT, after=after)])
            answer, seen = await put(it, api, question)
            assert_truth(seen, api, question)
            assert answer.endpoint == "a"
            assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]
            assert seen.usage is not None
            assert abs(seen.usage[1] - 24) < 8  # estimated, where a prefill was part of the prompt


@pytest.mark.parametrize("api", TRANSLATED)
@pytest.mark.parametrize("first", KINDS[:4])
@pytest.mark.parametrize("fault", CUTS, ids=str)
async def test_however_a_native_stream_breaks_it_goes_on_in_chat(api: ApiName, first: str, fault: Fault) -> None:
    question = Question(WORDS, stream=True)
    slow = fault is Fault.ERROR_EVENT_MIDWAY
    async with bed(seller(first), seller("chat", "b")) as it:
        it.sims["a"].script([Play(fault, after=5) if slow else Play(fault)])
        _, seen = await put(it, api, question)
        assert_truth(seen, api, question)
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]


@pytest.mark.parametrize("api", TRANSLATED)
@pytest.mark.parametrize("first", KINDS[:4])
async def test_a_call_that_is_cut_is_never_continued_and_never_looks_whole(api: ApiName, first: str) -> None:
    question = Question(WORDS, "tools", stream=True)
    async with bed(seller(first), seller("chat", "b")) as it:
        it.sims["a"].script([Fault.TOOL_CUT])
        _, seen = await put(it, api, question)
        assert seen.error is not None
        assert seen.finish is None
        assert it.sims["b"].log.requests == 0


@pytest.mark.parametrize("api", TRANSLATED)
@pytest.mark.parametrize("first", KINDS[:4])
async def test_an_answer_to_a_schema_is_continued_in_every_dialect(api: ApiName, first: str) -> None:
    question = Question(WORDS, "schema", stream=True)
    async with bed(seller(first), seller("anthropic", "b"), seller("chat", "c")) as it:
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=3)])
        _, seen = await put(it, api, question)
        assert_truth(seen, api, question)


@pytest.mark.parametrize("api", TRANSLATED)
async def test_a_stream_survives_several_cuts_in_several_dialects(api: ApiName) -> None:
    question = Question(WORDS, stream=True, usage=True)
    names = zip("abcde", ("anthropic", "responses", "chat", "messages", "anthropic"), strict=True)
    async with bed(*(seller(kind, name) for name, kind in names)) as it:
        for after, name in enumerate("abcd"):
            it.sims[name].script([Play(Fault.CUT_ABORT, after=4 + 4 * after)])
        _, seen = await put(it, api, question)
        assert_truth(seen, api, question)
        assert [who for who, _ in it.outcomes] == list("abcde")


@pytest.mark.parametrize("api", TRANSLATED)
@pytest.mark.parametrize("second", KINDS[:4])
async def test_white_space_where_a_stream_was_cut_is_neither_lost_nor_said_twice(api: ApiName, second: str) -> None:
    # Anthropic's endpoints take no beginning of an answer that ends in white space.
    question = Question("Say 7. [[tokens=24]]", stream=True)
    text = question.truth(api)[0]
    after = text[: text.index("\n")].count(" ") + 1
    async with bed(seller("chat"), seller(second, "b", prefill=True)) as it:
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=after)])
        _, seen = await put(it, api, question)
        assert_truth(seen, api, question)


# ---- the fault table, in every API -----------------------------------------------------------------------------------

NATIVE: list[tuple[ApiName, str]] = [
    ("responses", "chat"),
    ("responses", "responses"),
    ("messages", "chat"),
    ("messages", "messages"),
    ("messages", "anthropic"),
    ("chat", "anthropic"),
    ("embeddings", "chat"),
]
ROWS = pytest.mark.parametrize(("api", "kind"), NATIVE, ids=[f"{api}-before-{kind}" for api, kind in NATIVE])
SHORT = Clocks(connect_us=1_000_000, first_token_us=500_000, idle_us=500_000)
SILENT = {Fault.HANG_BEFORE_HEAD, Fault.HANG_AFTER_HEAD, Fault.STALL_BEFORE_CONTENT, Fault.STALL_MID_STREAM}

ELSEWHERE: dict[Fault, str] = {
    Fault.RESET_ON_ACCEPT: "FAILURE",
    Fault.TLS_GARBAGE: "FAILURE",
    Fault.RESET_BEFORE_ANSWER: "FAILURE",
    Fault.CLOSE_BEFORE_ANSWER: "FAILURE",
    Fault.HANG_BEFORE_HEAD: "FAILURE",
    Fault.HANG_AFTER_HEAD: "FAILURE",
    Fault.STALL_BEFORE_CONTENT: "FAILURE",
    Fault.STALL_MID_STREAM: "FAILURE",
    Fault.RATE_LIMIT: "RATE_LIMITED",
    Fault.RATE_LIMIT_DATE: "RATE_LIMITED",
    Fault.RATE_LIMIT_BARE: "RATE_LIMITED",
    Fault.STATUS_401: "REFUSED_US",
    Fault.STATUS_402: "REFUSED_US",
    Fault.STATUS_403: "REFUSED_US",
    Fault.STATUS_404: "REFUSED_US",
    Fault.STATUS_408: "FAILURE",
    Fault.STATUS_409: "FAILURE",
    Fault.STATUS_425: "FAILURE",
    Fault.STATUS_500: "FAILURE",
    Fault.STATUS_502: "FAILURE",
    Fault.STATUS_503: "FAILURE",
    Fault.STATUS_504: "FAILURE",
    Fault.STATUS_529: "FAILURE",
    Fault.CONTEXT_LENGTH: "NOBODYS",
    Fault.UNSUPPORTED_400: "NOBODYS",
    Fault.UNSUPPORTED_422: "NOBODYS",
    Fault.MALFORMED_JSON: "FAILURE",
    Fault.EMPTY_BODY: "FAILURE",
    Fault.TRUNCATED_BODY: "FAILURE",
    Fault.CUT_JSON: "FAILURE",
    Fault.HTML_BODY: "FAILURE",
    Fault.ERROR_OBJECT: "FAILURE",
    Fault.RESET_AFTER_HEAD: "FAILURE",
    Fault.CUT_BEFORE_CONTENT: "FAILURE",
    Fault.CUT_ABORT: "FAILURE",
    Fault.CUT_CLEAN: "FAILURE",
    Fault.ERROR_EVENT_FIRST: "FAILURE",
    Fault.ERROR_EVENT_MIDWAY: "FAILURE",
    Fault.NO_FINISH: "FAILURE",
}
"""What a first endpoint meets that the client is not to see, and what it is held for."""


@ROWS
@BOTH
@pytest.mark.parametrize("fault", ELSEWHERE, ids=str)
async def test_what_one_endpoint_meets_no_client_sees(api: ApiName, kind: str, stream: bool, fault: Fault) -> None:
    # Not streamed, an answer may take as long as it takes to write: eight tokens are soon written.
    question = Question("Say something. [[tokens=8]]", stream=stream, usage=True, limit=10)
    if api == "embeddings" and stream:
        return
    first = replace(seller(kind), context_window=4096)
    async with bed(first, seller("chat", "b"), clocks=SHORT if fault in SILENT else None) as it:
        it.sims["a"].script([Play(fault, parameter="seed")])
        answer, seen = await put(it, api, question)
        assert it.sims["a"].script_left == 0
        assert_truth(seen, api, question)
        assert answer.attempts in (1, 2)  # 1: what followed came too late for the head of the answer
        assert it.outcomes == [("a", ELSEWHERE[fault]), ("b", "SUCCESS")]


REFUSALS = {
    Fault.STATUS_400: 400,
    Fault.STATUS_410: 410,
    Fault.STATUS_418: 418,
    Fault.STATUS_451: 451,
    Fault.CONTENT_POLICY: 400,
}


@ROWS
@BOTH
@pytest.mark.parametrize("fault", REFUSALS, ids=str)
async def test_a_refusal_of_the_request_reaches_the_client_in_its_own_shape(
    api: ApiName, kind: str, stream: bool, fault: Fault
) -> None:
    async with bed(seller(kind), seller("chat", "b")) as it:
        it.sims["a"].script([fault])
        answer, seen = await put(it, api, Question(WORDS, stream=stream))
        assert (answer.status, answer.attempts, answer.endpoint) == (REFUSALS[fault], 1, "a")
        assert seen.error
        assert it.sims["b"].log.requests == 0
        assert it.outcomes == [("a", "NOBODYS")]


@ROWS
@BOTH
async def test_when_nobody_answers_one_error_in_the_clients_shape_names_each(
    api: ApiName, kind: str, stream: bool
) -> None:
    async with bed(seller(kind), seller("chat", "b")) as it:
        it.sims["a"].script([Fault.STATUS_529])
        it.sims["b"].script([Fault.STATUS_503])
        answer, seen = await put(it, api, Question(WORDS, stream=stream))
        assert (answer.status, answer.attempts) == (502, 2)
        assert seen.error is not None
        assert "a/m: unavailable (HTTP 529)" in seen.error
        assert "b/m: unavailable (HTTP 503)" in seen.error
        assert seen.kind == ("api_error" if api == "messages" else "server_error")


@ROWS
async def test_when_all_are_rate_limited_the_client_is_told_when_to_come_back(api: ApiName, kind: str) -> None:
    async with bed(seller(kind), seller("chat", "b")) as it:
        it.sims["a"].script([Play(Fault.RATE_LIMIT, seconds=60)])
        it.sims["b"].script([Play(Fault.RATE_LIMIT, seconds=30)])
        answer, seen = await put(it, api, Question(WORDS))
        assert (answer.status, seen.kind) == (429, "rate_limit_error")
        assert 20 <= int(answer.headers["retry-after"]) <= 30


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
    Fault.NON_JSON_EVENT,
]


@ROWS
@BOTH
@pytest.mark.parametrize("fault", QUIRKS, ids=str)
async def test_an_answer_in_an_unusual_form_is_an_answer_in_every_api(
    api: ApiName, kind: str, stream: bool, fault: Fault
) -> None:
    question = Question(WORDS, stream=stream)
    async with bed(seller(kind), seller("chat", "b")) as it:
        it.sims["a"].script([fault])
        for number in range(2):
            answer, seen = await put(it, api, question)
            if fault is not Fault.NO_USAGE or number:
                assert_truth(seen, api, question)
            else:
                assert (seen.text, seen.tool, seen.finish) == question.truth(api)
            assert (answer.attempts, answer.endpoint) == (1, "a")
        is_bad = fault is Fault.NON_JSON_EVENT and question.is_streamed(api)
        assert it.outcomes == [("a", "FAILURE" if is_bad else "SUCCESS"), ("a", "SUCCESS")]


@ROWS
@pytest.mark.parametrize("asked", ["text", "tools", "schema"])
async def test_an_answer_larger_than_any_is_not_taken_in_any_api(api: ApiName, kind: str, asked: str) -> None:
    if api == "embeddings" and asked != "text":
        return
    for stream in (False, True):
        question = Question(WORDS, asked, stream)
        async with bed(seller(kind), seller("chat", "b"), limits=Limits(max_response_bytes=1 << 20)) as it:
            it.sims["a"].script([Play(Fault.HUGE_BODY, size=8 << 20)])
            _, seen = await put(it, api, question)
            assert_truth(seen, api, question)
            assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]


@pytest.mark.parametrize(("api", "kind"), NATIVE[:-1], ids=[f"{api}-before-{kind}" for api, kind in NATIVE[:-1]])
async def test_an_answer_that_breaks_its_schema_goes_to_the_next_endpoint_in_every_api(api: ApiName, kind: str) -> None:
    question = Question(WORDS, "schema")
    async with bed(seller(kind), seller("chat", "b")) as it:
        it.sims["a"].script([Fault.SCHEMA_VIOLATION])
        _, seen = await put(it, api, question)
        assert_truth(seen, api, question)
        assert it.outcomes == [("a", "SCHEMA_VIOLATION"), ("b", "SUCCESS")]


@pytest.mark.parametrize(("api", "kind"), NATIVE[:-1], ids=[f"{api}-before-{kind}" for api, kind in NATIVE[:-1]])
async def test_a_client_that_leaves_cancels_what_is_under_way_in_every_api(api: ApiName, kind: str) -> None:
    question = Question(WORDS, stream=True)
    async with bed(seller(kind)) as it:
        it.sims["a"].script([Play(Fault.STALL_MID_STREAM, after=5)])
        async with it.wire() as wire:
            wire.send(post(question.ask(api), PATHS[api]))
            await wire.read_until(question.truth(api)[0].split()[1].encode())
        await until(lambda: it.sims["a"].log.in_flight == 0)
        assert it.sims["a"].log.last.is_cancelled
        assert it.outcomes == [("a", "NOBODYS")]
