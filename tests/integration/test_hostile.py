"""Hostile clients over real sockets: whatever one sends gets a clean 4xx or a close, and the next client its answer."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import struct
from collections.abc import Iterator

import pytest

from providerrank.gateway.settings import Limits
from tests.integration.gateway_bed import (
    CHAT,
    CHAT_PATH,
    STREAM,
    TEXT_PATH,
    Bed,
    Body,
    Seller,
    assert_whole,
    bed,
    get,
    post,
    until,
)

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n"
DATA = json.dumps(CHAT).encode()
LENGTH = b"Content-Length: %d\r\n" % len(DATA)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(DATA), DATA)
WITH_LENGTH = HEAD + LENGTH + b"\r\n" + DATA
HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(200)
"""How TLS begins."""

REFUSED_400 = {
    "both lengths": HEAD + LENGTH + CHUNKED + b"\r\n" + CHUNKS,
    "both lengths, turned round": HEAD + CHUNKED + LENGTH + b"\r\n" + CHUNKS,
    "two lengths": HEAD + LENGTH + b"Content-Length: 3\r\n\r\n" + DATA,
    "two lengths alike": HEAD + LENGTH * 2 + b"\r\n" + DATA,
    "lengths in a list": HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
    "a length with a sign": HEAD + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\nhello",
    "a length in hexadecimal": HEAD + b"Content-Length: 0x5\r\n\r\nhello",
    "an empty length": HEAD + b"Content-Length:\r\n\r\nhello",
    "a length past 64 bits": HEAD + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "a length of 5000 digits": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
    "a chunk size that is none": HEAD + CHUNKED + b"\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a prefix": HEAD + CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a negative chunk size": HEAD + CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a chunk size past 64 bits": HEAD + CHUNKED + b"\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": HEAD + CHUNKED + b"\r\n5\r\nhelloworld\r\n0\r\n\r\n",
    "a chunk extension ended by LF": HEAD + CHUNKED + b"\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    "a NUL in a chunk extension": HEAD + CHUNKED + b"\r\n5;\0\r\nhello\r\n0\r\n\r\n",
    "a chunk ended by LF": HEAD + CHUNKED + b"\r\n5\nhello\n0\n\n",
    "a length in the trailers": HEAD + CHUNKED + b"\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a coding in the trailers": HEAD + CHUNKED + b"\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "obsolete folding": HEAD + LENGTH + b"X: a\r\n b\r\n\r\n" + DATA,
    "a folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "a NUL in a name": HEAD + LENGTH + b"X\0: a\r\n\r\n" + DATA,
    "a NUL in a value": HEAD + LENGTH + b"X: a\0b\r\n\r\n" + DATA,
    "a control byte in a value": HEAD + LENGTH + b"X: a\x01b\r\n\r\n" + DATA,
    "a name past ASCII": HEAD + LENGTH + b"X\xff: a\r\n\r\n" + DATA,
    "a header without a name": HEAD + LENGTH + b": a\r\n\r\n" + DATA,
    "a header without a colon": HEAD + LENGTH + b"what\r\n\r\n" + DATA,
    "a space before the colon": HEAD + LENGTH.replace(b":", b" :") + b"\r\n" + DATA,
    "a space before the name": HEAD + b" " + LENGTH + b"\r\n" + DATA,
    "lines ended by LF": (HEAD + LENGTH).replace(b"\r\n", b"\n") + b"\n" + DATA,
    "a line ended by CR": HEAD + b"X: a\r" + LENGTH + b"\r\n" + DATA,
    "xchunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "chunked, identity": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS,
    "identity, chunked": HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n" + CHUNKS,
    "gzip, chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "chunked twice": HEAD + CHUNKED * 2 + b"\r\n" + CHUNKS,
    "identity and chunked": HEAD + b"Transfer-Encoding: identity\r\n" + CHUNKED + b"\r\n" + CHUNKS,
    "chunked behind a vertical tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "an empty coding": HEAD + b"Transfer-Encoding:\r\n" + LENGTH + b"\r\n" + DATA,
    "chunks in HTTP/1.0": HEAD.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + CHUNKS,
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "HTTP/1.2": WITH_LENGTH.replace(b"HTTP/1.1", b"HTTP/1.2"),
    "HTTP/2.0 in words": WITH_LENGTH.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "TLS": HELLO,
    "a tunnel": b"CONNECT example.com:443 HTTP/1.1\r\nHost: g\r\n\r\n",
    "a host and port for a target": b"POST example.com:80 HTTP/1.1\r\nHost: g\r\n\r\n",
    "an unknown method": WITH_LENGTH.replace(b"POST", b"HACK"),
    "a control byte in the target": b"GET /\x01 HTTP/1.1\r\nHost: g\r\n\r\n",
    "a space in the target": b"GET /v1 /models HTTP/1.1\r\nHost: g\r\n\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\n\r\n",
    "an upgrade": HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an upgrade to HTTP/2": HEAD + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    "noise": bytes(range(256)) * 8,
}
"""What is not HTTP/1.1 to the letter: whoever stands before us may read it otherwise."""

LONG = b"x" * 70_000
REFUSED_OTHERWISE = {
    "a long target": (431, b"GET /" + LONG + b" HTTP/1.1\r\nHost: g\r\n\r\n"),
    "a long header": (431, HEAD + b"X: " + LONG + b"\r\n\r\n"),
    "many headers": (431, HEAD + b"".join(b"h%d:\r\n" % number for number in range(20_000)) + b"\r\n"),
    "a long name": (431, HEAD + LONG + b": x\r\n\r\n"),
    "blank lines without end": (431, b"\r\n" * 40_000),
    "long trailers": (431, HEAD + CHUNKED + b"\r\n0\r\nX: " + LONG * 8),
    "a long chunk extension": (431, HEAD + CHUNKED + b"\r\n5;" + LONG * 8),
    "a long body, announced": (413, HEAD + b"Content-Length: 1000001\r\n\r\n"),
    "the longest body": (413, HEAD + b"Content-Length: 18446744073709551615\r\n\r\n"),
    "a long body, chunked": (413, HEAD + CHUNKED + b"\r\n" + b"ffff\r\n%b\r\n" % (b"x" * 65_535) * 17),
}


async def assert_serves(it: Bed) -> None:
    """The next client is answered as if nothing had been."""
    assert_whole(await it.ask(CHAT), CHAT)


@pytest.mark.parametrize("data", REFUSED_400.values(), ids=REFUSED_400)
async def test_what_is_not_http_is_refused_and_closed(data: bytes) -> None:
    async with bed(Seller("a")) as it:
        async with it.wire() as wire:
            wire.send(data)
            answer = await wire.answer()
            assert (answer.status, answer.error["code"]) == (400, "bad_http")
            assert answer.headers["connection"] == "close"
            assert await wire.is_closed()
        assert it.sims["a"].log.requests == 0
        await assert_serves(it)


@pytest.mark.parametrize(("status", "data"), REFUSED_OTHERWISE.values(), ids=REFUSED_OTHERWISE)
async def test_what_is_too_large_is_refused_and_closed(status: int, data: bytes) -> None:
    async with bed(Seller("a"), limits=Limits(max_body_bytes=1_000_000)) as it:
        async with it.wire() as wire:
            wire.send(data)
            answer = await wire.answer()
            assert (answer.status, answer.error["code"]) == (status, "request_too_large")
            assert await wire.is_closed()
        assert it.sims["a"].log.requests == 0
        await assert_serves(it)


async def test_odd_but_valid_requests_are_answered() -> None:
    odd = {
        HEAD + b"content-LENGTH:\t%d \r\n\r\n" % len(DATA) + DATA: 200,
        HEAD + b"Content-Length: 000%d\r\n\r\n" % len(DATA) + DATA: 200,
        HEAD + b"transfer-encoding: CHUNKED\r\n\r\n" + CHUNKS: 200,
        HEAD + CHUNKED + b'\r\n%x;a="b;c"\r\n%b\r\n0\r\nX: y\r\n\r\n' % (len(DATA), DATA): 200,
        b"\r\n\r\n" + WITH_LENGTH: 200,
        HEAD + LENGTH + b"X: \xff\xe9\r\n\r\n" + DATA: 200,
        HEAD + LENGTH + b"Upgrade: h2c\r\n\r\n" + DATA: 200,
        WITH_LENGTH.replace(b" /v1", b" http://elsewhere/v1"): 404,
        WITH_LENGTH.replace(b"/v1/chat/completions", b"/v1/chat/completions?a=b"): 200,
        b"OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n": 404,
        b"DELETE /v1/chat/completions HTTP/1.1\r\nHost: g\r\n\r\n": 405,
        b"GET /%00%ff/../..//etc HTTP/1.1\r\nHost: g\r\n\r\n": 404,
        b"GET /v1/models/%ff%00%0d%0aX:y HTTP/1.1\r\nHost: g\r\n\r\n": 404,
    }
    async with bed(Seller("a")) as it, it.wire() as wire:
        for data, status in odd.items():
            wire.send(data)
            answer = await wire.answer()
            assert answer.status == status, data
            assert answer.whole


# ---- bodies ----------------------------------------------------------------------------------------------------------

DEEP = 100_000
BODIES = {
    "nothing": b"",
    "not JSON": b"{",
    "no object": b"[]",
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep messages": b'{"model":"m","messages":[' + b"[" * DEEP + b"]" * DEEP + b"]}",
    "deep objects": b'{"model":"m","messages":[1],"x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep and unfinished": b'{"model":"m","messages":[1],"x":' + b"[" * DEEP,
    "latin-1": '{"model":"é","messages":[1]}'.encode("latin-1"),
    "UTF-16": json.dumps(CHAT).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + DATA,
    "a NUL after it": DATA + b"\0",
    "a second value": DATA + DATA,
    "a number past a float": b'{"model":"m","messages":[1],"max_tokens":1e999}',
    "NaN": b'{"model":"m","messages":[1],"max_tokens":NaN}',
    "a lone surrogate": rb'{"model":"\ud800","messages":[1]}',
    "gzip": gzip.compress(DATA),
}


@pytest.mark.parametrize("path", [CHAT_PATH, TEXT_PATH, "/v1/embeddings", "/v1/messages", "/v1/responses"])
async def test_a_body_that_is_no_request_is_a_400_in_the_apis_own_shape(path: str) -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        for name, body in BODIES.items():
            wire.send(post(body, path))
            answer = await wire.answer()
            assert answer.status == 400, name
            assert answer.json()["error"]["message"], name
        assert it.sims["a"].log.requests == 0
        await assert_serves(it)


async def test_of_a_field_given_twice_the_last_counts_for_everybody() -> None:
    async with bed(Seller("a")) as it:
        body = b'{"model":"secret",%b,"model":"m"}' % DATA[1:-1].replace(b'"model": "m", ', b"")
        assert (await it.fetch(post(body))).status == 200
        assert it.received("a")[0]["model"] == "upstream-m"
        assert b"secret" not in it.sims["a"].log.last.body


async def test_many_small_values_are_refused_before_they_are_read() -> None:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}] * 300_000}
    async with bed(Seller("a")) as it:
        answer = await it.fetch(post(json.dumps(body).encode(), "/v1/messages"))
        assert (answer.status, answer.json()["error"]["type"]) == (413, "request_too_large")
        await assert_serves(it)


WRONG = [
    "null", "true", "-1", "1e400", "1" + "0" * 400, '""', '"x"', r'"\u0000"', r'"\ud800"', "[]", "[[]]", "[null]", "{}",
    '{"type":"text"}', '{"a":1}', "[" * 3000 + "]" * 3000,
]  # fmt: skip
"""In place of any value: JSON of every type, and JSON that readers disagree on."""

TOOL = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
FULL: dict[str, Body] = {
    CHAT_PATH: {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "name": "n", "content": [{"type": "text", "text": "t"}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "i", "content": "r"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b", "detail": "low"}}]},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}},
        "stream": False, "stream_options": None, "temperature": 0, "top_p": 1, "max_tokens": 5, "n": 1, "stop": ["a"],
        "max_completion_tokens": 5, "logprobs": False, "top_logprobs": 0, "logit_bias": {"1": 2}, "seed": 1,
        "presence_penalty": 0, "user": "u", "metadata": {"a": "b"}, "reasoning_effort": "low", "models": ["m"],
        "parallel_tool_calls": True,
        "provider": {"order": ["a"], "only": ["a"], "ignore": ["b"], "sort": "price", "allow_fallbacks": True,
                     "max_price": {"prompt": 9, "completion": 9}, "require_parameters": False},
    },
    TEXT_PATH: {
        "model": "m", "prompt": ["a", "b"], "suffix": "x", "max_tokens": 5, "n": 1, "stream": False, "logprobs": None,
        "echo": False, "stop": "x", "best_of": 1, "seed": 1, "provider": {"order": ["a"]}, "models": ["m"],
    },
    "/v1/embeddings": {
        "model": "m", "input": ["a", "b"], "dimensions": 3, "encoding_format": "float", "user": "u",
        "provider": {"order": ["a"]}, "models": ["m"],
    },
    "/v1/messages": {
        "model": "m", "max_tokens": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "t"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "i", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "i", "content": [{"type": "text", "text": "r"}],
                 "is_error": True}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "stream": False, "temperature": 0, "top_p": 1, "top_k": 5, "stop_sequences": ["a"],
        "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "provider": {"require_parameters": False},
    },
    "/v1/responses": {
        "model": "m", "instructions": "i",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "t"}]},
            {"type": "message", "role": "assistant", "id": "m", "status": "completed",
             "content": [{"type": "output_text", "text": "a", "annotations": []}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "s"}]},
        ],
        "tools": [{"type": "function", **TOOL}], "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}, "verbosity": "low"},
        "stream": False, "temperature": 0, "top_p": 1, "max_output_tokens": 5, "reasoning": {"effort": "low"},
        "store": False, "metadata": {"a": "b"}, "include": [], "truncation": "disabled", "parallel_tool_calls": True,
        "provider": {"require_parameters": False},
    },
}  # fmt: skip
"""A request of each API with every field the gateway knows of, and the places in it."""


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path to every value inside."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


def spoil(body: Body, path: tuple[str | int, ...], wrong: str) -> bytes:
    """The body with this in place of one value."""
    spoilt = copy.deepcopy(body)
    inner = spoilt
    for step in path[:-1]:
        inner = inner[step]  # type: ignore[index]  # a list's number where it is a list
    inner[path[-1]] = "@@"  # type: ignore[index]  # likewise
    return json.dumps(spoilt).encode().replace(b'"@@"', wrong.encode())


@pytest.mark.parametrize("path", FULL)
async def test_a_wrong_type_anywhere_is_answered_or_a_4xx_never_ours_to_blame(path: str) -> None:
    body = FULL[path]
    native = Seller("b", apis=("chat", "messages"), dialect="anthropic")
    async with bed(Seller("a"), native) as it:
        for stop in (None, *places(body)):
            async with it.wire() as wire:
                for wrong in WRONG if stop is not None else [""]:
                    data = json.dumps(body).encode() if stop is None else spoil(body, stop, wrong)
                    wire.send(post(data, path))
                    answer = await wire.answer()
                    where = (stop, wrong[:40], answer.body[:300])
                    assert answer.status != 500, where
                    assert answer.whole, where
                    assert b"the gateway failed" not in answer.body, where
                    if answer.status not in (200, 502):  # 502: the simulated endpoints did not understand it
                        assert 400 <= answer.status < 500, where
                        # ({}: what a simulated endpoint says where it is out of its depth; it passes as it is.)
                        assert answer.body == b"{}" or answer.json()["error"]["message"], where
        assert not it.gateway._exchanges
        await assert_serves(it)


# ---- headers ---------------------------------------------------------------------------------------------------------

HOSTILE_VALUES = [
    b"", b" ", b"x" * 5000, "é🦔".encode(), b"\xff\xfe", b"\t", b"a\tb", b"<script>alert(1)</script>", b"a: b; c, d",
    b"../../etc/passwd", b"%0d%0aX: y", b"\x80\x85", b"00-zz-zz-zz", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
    b"ff-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01", b"'; DROP TABLE--", b"${jndi:ldap://a}", b"\xf0\x9f",
]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"x-providerrank-session",
        b"x-providerrank-task",
        b"x-providerrank-tier",
        b"authorization",
        b"x-api-key",
        b"origin",
        b"expect",
        b"connection",
        b"content-type",
        b"anthropic-version",
        b"accept-encoding",
        b"host",
        b"content-encoding",
    ],
)
async def test_hostile_header_values_are_ignored_or_refused_and_never_echoed_raw(name: bytes) -> None:
    async with bed(Seller("a")) as it:
        for value in HOSTILE_VALUES:
            async with it.wire() as wire:
                wire.send(HEAD + LENGTH + name + b": " + value + b"\r\n\r\n" + DATA)
                answer = await wire.answer()
                assert answer.status in ((200, 400, 403) if name in (b"origin", b"x-providerrank-tier") else (200,))
                echoed = answer.headers["x-request-id"]
                assert echoed.isascii()
                assert echoed.isprintable()
                assert len(echoed) <= 128
        for sent in it.sims["a"].log:
            assert all(value.isascii() and value.isprintable() for value in sent.headers.values())


# ---- connections -----------------------------------------------------------------------------------------------------


async def test_thousands_of_pipelined_requests_are_answered_in_order() -> None:
    count = 3000
    async with bed(Seller("a")) as it, it.wire() as wire:
        wire.send(get("/v1/models") * count + post(CHAT))
        data = b""
        while data.count(b"HTTP/1.1 200 OK") < count + 1:
            more = await wire.read()
            assert more
            data += more
        await assert_serves(it)


async def test_a_client_that_asks_on_and_reads_nothing_is_not_answered_into_memory() -> None:
    async with bed(Seller("a"), limits=Limits(client_stall_us=1_000_000)) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.gateway.port, limit=1024)
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # what a client does that does not care
        asks = get("/v1/models/" + "x" * 3000) * 100
        sent = 0
        while not it.gateway._connections or not next(iter(it.gateway._connections)).paused:
            writer.write(asks)
            sent += 1
            await asyncio.sleep(0)
            assert sent < 2000, "it goes on for ever"
        [connection] = it.gateway._connections
        for _ in range(50):
            writer.write(asks)
            await asyncio.sleep(0.002)
            assert connection._transport is None or connection._transport.get_write_buffer_size() < 400_000
        await assert_serves(it)
        await until(lambda: connection not in it.gateway._connections)
        writer.transport.abort()


async def test_what_came_whole_before_junk_in_the_same_read_is_answered() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        wire.send(post(CHAT) + b"\0\0junk\r\n\r\n")
        assert_whole(await wire.answer(), CHAT)
        assert await wire.is_closed()
        assert it.sims["a"].log.requests == 1


@pytest.mark.parametrize("more", [b"", b"GET /health HTTP/1.1\r\nHost: g\r\n\r\n", b"\0"], ids=["none", "one", "junk"])
async def test_a_client_that_asked_to_close_gets_its_answer_and_no_other(more: bytes) -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        wire.send(post(STREAM, headers={"Connection": "close"}) + more)
        assert_whole(await wire.answer(), STREAM)
        assert await wire.is_closed()


async def test_a_flood_past_the_most_connections_leaves_those_that_are_open_served() -> None:
    async with bed(Seller("a"), limits=Limits(max_connections=50)) as it, it.wire() as kept:
        assert_whole(await kept.ask(CHAT), CHAT)
        flood = [await asyncio.open_connection("127.0.0.1", it.gateway.port) for _ in range(300)]
        await until(lambda: it.gateway.stats.connections <= 51)
        assert_whole(await kept.ask(CHAT), CHAT)
        for _, writer in flood:
            writer.transport.abort()
        await until(lambda: it.gateway.stats.connections == 1)
        await assert_serves(it)


async def test_connections_that_are_reset_at_any_moment_leave_nothing_behind() -> None:
    data = post(STREAM)
    async with bed(Seller("a")) as it:
        for at in [0, 1, 20, 60, len(data) - 1, len(data)]:
            reader, writer = await asyncio.open_connection("127.0.0.1", it.gateway.port)
            writer.write(data[:at])
            if at == len(data):
                await reader.read(100)
            plug = writer.get_extra_info("socket")
            plug.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER of nothing: a reset
            writer.transport.abort()
        await until(lambda: it.gateway.stats.connections == 0)
        await assert_serves(it)


async def test_a_read_of_thousands_of_requests_is_not_all_read_before_one_is_answered() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        wire.send(get("/health") * 4000)
        await until(lambda: bool(it.gateway._connections))
        [connection] = it.gateway._connections
        data, most = b"", 0
        while data.count(b'{"status":"ok"}') < 4000:
            more = await wire.read()
            assert more
            data += more
            most = max(most, len(connection._reader.requests))
        assert most < 1000
        await assert_serves(it)


async def test_a_client_that_leaves_while_most_of_its_read_is_unparsed_is_not_served_on() -> None:
    async with bed(Seller("a")) as it:
        async with it.wire() as wire:
            wire.send(get("/health") * 3000 + post(CHAT) * 200)
            await until(lambda: bool(it.gateway._connections))
        await until(lambda: not it.gateway._connections)
        await assert_serves(it)
