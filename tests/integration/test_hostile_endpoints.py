"""Hostile endpoints: whatever one sends, the client has its answer from another, true and whole, and soon."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import resource
import time

import pytest

from providerrank.gateway.settings import Clocks
from tests.integration.gateway_bed import CHAT, STREAM, STREAM_USAGE, Bed, Body, Seller, assert_whole, bed, truth
from tests.integration.villain import (
    HEAD,
    JSON_HEAD,
    SAID,
    STREAM_HEAD,
    Act,
    Write,
    answer,
    bomb,
    chunk,
    event,
    piece,
    reply,
    villain,
)

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CLOCKS = Clocks(connect_us=1_000_000, first_token_us=700_000, idle_us=700_000, total_us=8_000_000)


def forever(head: bytes, unit: bytes, pause_s: float = 0.0) -> Act:
    """A head and then this without end."""

    async def act(write: Write) -> None:
        await write(head)
        while True:
            await write(unit)
            await asyncio.sleep(pause_s)

    return act


PLAIN: dict[str, Act | bytes] = {
    "a head without end": forever(b"HTTP/1.1 200 OK\r\n", b"X-%b: y\r\n" % (b"x" * 4000)),
    "interim answers without end": forever(b"", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 100),
    "a body without end": forever(JSON_HEAD + CHUNKED, chunk(b" " * 200_000)),
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "wrong chunks": JSON_HEAD + CHUNKED + b"zz\r\n" + reply("x") + b"\r\n0\r\n\r\n",
    "a chunk longer than said": JSON_HEAD + CHUNKED + b"5\r\n" + reply("x") + b"\r\n0\r\n\r\n",
    "a length too long": JSON_HEAD + b"Content-Length: 100000\r\n\r\n" + reply("x"),
    "a length too short": JSON_HEAD + b"Content-Length: 20\r\n\r\n" + reply("x"),
    "two lengths": JSON_HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "both lengths": JSON_HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": JSON_HEAD + b"X: a\r\n b\r\n\r\n",
    "a NUL in a header": JSON_HEAD + b"X: a\0b\r\n\r\n",
    "noise": bytes(range(256)) * 20,
    "TLS": b"\x15\x03\x01\x00\x02\x02\x50",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "a bomb": answer(bomb(b" ", 200_000_000), JSON_HEAD + b"Content-Encoding: gzip\r\n"),
    "a bomb that is an answer": answer(
        bomb(b"x", 0) + bomb(b" ", 60_000_000), JSON_HEAD + b"Content-Encoding: gzip\r\n"
    ),
    "broken compression": answer(b"\x1f\x8b junk", JSON_HEAD + b"Content-Encoding: gzip\r\n"),
    "a coding nobody asked for": answer(reply("x"), JSON_HEAD + b"Content-Encoding: br\r\n"),
    "deep JSON": answer(b"[" * 100_000 + b"]" * 100_000),
    "deep choices": answer(b'{"choices":' + b'[{"a":' * 50_000),
    "not UTF-8": answer(b'{"choices":[{"message":{"content":"\xff"},"finish_reason":"stop"}]}'),
    "no object": answer(b"[]"),
    "a status of three digits": b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    "a status of nothing": b"HTTP/1.1 000 What\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "elsewhere": b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
    "an error without end": forever(b"HTTP/1.1 500 Oops\r\n" + CHUNKED, chunk(b"x" * 200_000)),
    "a year of waiting": b"HTTP/1.1 429 Slow\r\nRetry-After: 31536000\r\nContent-Length: 0\r\n\r\n",
    "for ever": b"HTTP/1.1 429 Slow\r\nRetry-After: 1e999\r\nContent-Length: 0\r\n\r\n",
}

OPEN = STREAM_HEAD + CHUNKED
STREAMED: dict[str, Act | bytes] = {
    "comments without end": forever(OPEN, chunk(b": keep-alive\n\n"), 0.01),
    "comments as fast as they go": forever(OPEN, chunk(b":\n\n" * 20_000)),
    "roles without end": forever(OPEN, chunk(piece(role="assistant")), 0.01),
    "roles as fast as they go": forever(OPEN, chunk(piece(role="assistant") * 2_000)),
    "empty content without end": forever(OPEN, chunk(piece(content="")), 0.01),
    "junk events as fast as they go": forever(OPEN, chunk(b"data: x\n\n" * 5_000)),
    "one event without end": forever(OPEN, chunk(b"data: " + b"x" * 200_000)),
    "one event drop by drop": forever(OPEN + chunk(b"data: " + b"x" * 3_900_000), chunk(b"x")),
    "an event of lines without end": forever(OPEN, chunk(b"data:\n" * 20_000)),
    "a bomb of comments": OPEN.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    + chunk(bomb(b":\n\n", 30_000_000)),
    "a bomb of zeros": OPEN.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    + chunk(bomb(b"\0", 99_000_000)),
    "JSON in place of a stream": answer(reply("x")),
    "an event that is deep": OPEN + chunk(event(b"[" * 100_000)),
    "a finish that is an error": OPEN + chunk(piece("error")),
    "done before anything": OPEN + chunk(event(b"[DONE]")),
    "only usage": OPEN + chunk(event({"choices": [], "usage": {"prompt_tokens": 1}}) + event(b"[DONE]")),
}


async def ask_beside(script: Act | bytes, body: Body) -> None:
    """The client's answer comes from the other endpoint, and not late; memory and the loop are not held."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with villain(script) as foe, bed(Seller("a", url=foe.url), Seller("b"), clocks=CLOCKS) as it:
        began = time.monotonic()
        got = await it.ask(body)
        assert_whole(got, body)
        assert got.endpoint == "b"
        assert time.monotonic() - began < 7
        assert foe.requests >= 1
        assert it.outcomes[0][0] == "a"
        assert it.outcomes[0][1] in ("FAILURE", "RATE_LIMITED")
        assert_whole(await it.ask(body), body)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "held in memory (KiB)"


@pytest.mark.parametrize("script", PLAIN.values(), ids=PLAIN)
async def test_a_hostile_plain_answer_is_answered_elsewhere(script: Act | bytes) -> None:
    await ask_beside(script, CHAT)


@pytest.mark.parametrize("script", (PLAIN | STREAMED).values(), ids=PLAIN | STREAMED)
async def test_a_hostile_stream_is_answered_elsewhere(script: Act | bytes) -> None:
    await ask_beside(script, STREAM)


# ---- connections -----------------------------------------------------------------------------------------------------


async def test_two_answers_at_once_do_not_cross_the_requests_of_others() -> None:
    count = itertools.count()

    async def act(write: Write) -> None:
        if next(count) == 0:
            await write(answer(reply("first")) + answer(reply("second")))
        else:
            await asyncio.sleep(0.1)
            await write(answer(reply(SAID)))

    async with villain(act) as foe, bed(Seller("a", url=foe.url)) as it:
        assert (await it.ask(CHAT)).text == "first"
        assert len(it.gateway.targets["a/m"].idle) == 0, "a connection that is out of step is not kept"
        for got in await asyncio.gather(*(it.ask(CHAT) for _ in range(4))):
            assert got.text == SAID
        idle = it.gateway.targets["a/m"].idle
        assert len(idle) == len(set(map(id, idle)))


async def test_an_answer_nobody_asked_for_ends_its_connection() -> None:
    async def act(write: Write) -> None:
        await write(answer(reply(SAID)))
        await asyncio.sleep(0.05)
        await write(answer(reply("stale")))

    async with villain(act) as foe, bed(Seller("a", url=foe.url)) as it:
        for _ in range(3):
            assert (await it.ask(CHAT)).text == SAID
            await asyncio.sleep(0.15)
        assert not it.gateway.targets["a/m"].idle


async def test_an_answer_before_its_request_was_sent_whole_is_nobodys_but_its_own() -> None:
    async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(reply("early")))
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(at_once, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with bed(Seller("a", url=url), Seller("b")) as it:
        got = await it.ask(CHAT)
        assert got.text in ("early", truth(CHAT))
        assert (await it.ask(CHAT)).status == 200
    server.close()


# ---- streams that go on, or say too much -----------------------------------------------------------------------------


@pytest.mark.parametrize("more", [piece(content="more"), b": \n\n", piece(role="assistant")], ids=range(3))
async def test_a_stream_that_goes_on_after_its_finish_is_finished(more: bytes) -> None:
    begin = OPEN + chunk(piece(content=SAID)) + chunk(piece("stop"))
    async with villain(forever(begin, chunk(more), 0.01)) as foe, bed(Seller("a", url=foe.url), clocks=CLOCKS) as it:
        began = time.monotonic()
        got = await it.ask(STREAM)
        assert time.monotonic() - began < 3
        assert got.events[-1] == "[DONE]"
        assert got.finish == "stop"


async def test_a_plain_answer_that_drips_inside_every_clock_ends_with_the_total_one() -> None:
    # Blank bytes are how some endpoints keep a connection open while they think: only the total clock can tell.
    drip = forever(JSON_HEAD + b"Content-Length: 1000\r\n\r\n", b" ", 0.3)
    async with villain(drip) as foe, bed(Seller("a", url=foe.url), clocks=Clocks(total_us=3_000_000)) as it:
        began = time.monotonic()
        assert (await it.ask(CHAT)).status == 504
        assert time.monotonic() - began < 6


async def test_a_drip_inside_every_clock_ends_with_the_total_one() -> None:
    drip = forever(OPEN, chunk(piece(content="x")), 0.3)
    async with villain(drip) as foe, bed(Seller("a", url=foe.url), clocks=Clocks(total_us=3_000_000)) as it:
        began = time.monotonic()
        got = await it.ask(STREAM)
        assert time.monotonic() - began < 6
        assert "[DONE]" not in got.events
        assert got.error["message"]


@pytest.mark.parametrize("first", [" ", "\n", "\u200b"])
async def test_a_first_piece_that_says_nothing_and_then_silence(first: str) -> None:
    # It counts as content, as it must; the silence after it is continued elsewhere, or is an explicit error.
    async def act(write: Write) -> None:
        await write(OPEN + chunk(piece(content=first)))
        await asyncio.sleep(4)

    async with villain(act) as foe, bed(Seller("a", url=foe.url), Seller("b"), clocks=CLOCKS) as it:
        got = await it.ask(STREAM)
        assert "[DONE]" not in got.events
        assert got.error["message"]
        assert it.outcomes[0] == ("a", "FAILURE")


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": -5},
        {"prompt_tokens": 10**30, "completion_tokens": 10**30},
        {"prompt_tokens": 10**400, "completion_tokens": 1},
        {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -(10**30)}},
        {"prompt_tokens": None, "completion_tokens": None},
    ],
    ids=range(5),
)
async def test_usage_that_nobody_used_is_not_counted(usage: dict[str, object]) -> None:
    async def act(write: Write) -> None:
        await write(answer(reply(SAID, usage=usage)))

    async def stream(write: Write) -> None:
        events = piece(content=SAID) + piece("stop") + event({"choices": [], "usage": usage}) + event(b"[DONE]")
        await write(OPEN + chunk(events) + b"0\r\n\r\n")

    for script, body in ((act, CHAT), (stream, STREAM_USAGE)):
        async with villain(script) as foe, bed(Seller("a", url=foe.url)) as it:
            assert (await it.ask(body)).status in (200, 502)
            tokens = it.gateway.stats.endpoints["a/m"].output_tokens
            assert 0 <= tokens < 10**9


# ---- what an endpoint says, said on ----------------------------------------------------------------------------------

EVIL = '<script>alert(1)</script>\r\nX-Evil: yes\r\n\r\n\x1b[2J\x00\u202e level=error msg="forged" sk-key-of-ours'


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500])
async def test_an_endpoints_words_reach_no_header_and_no_log_line_of_their_own(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    error = json.dumps({"error": {"message": EVIL, "code": EVIL, "type": EVIL, "param": EVIL}}).encode()
    head = f"HTTP/1.1 {status} {'Oops'}\r\nX-Request-Id: evil\r\nSet-Cookie: a=b\r\nServer: evil\r\n".encode()
    async with (
        villain(answer(error, head)) as foe,
        bed(Seller("a", url=foe.url, key="sk-key-of-ours"), explain=10) as it,
    ):
        got = await it.ask(CHAT)
        assert got.status >= 400
        names = {name for name, _ in got.raw_headers}
        assert names <= {"content-type", "content-length", "x-providerrank-attempts", "x-request-id",
                         "x-providerrank-endpoint", "retry-after", "connection"}  # fmt: skip
        assert b"sk-key-of-ours" not in got.body
        for record in caplog.records:
            assert "\n" not in record.getMessage()
            assert "\x1b" not in record.getMessage()
            assert "sk-key" not in record.getMessage()
        [(attempt, _)] = it.ended[:1]
        assert attempt.detail.isprintable()
        assert "sk-key" not in attempt.detail
        assert attempt.note.isprintable()


@pytest.mark.parametrize("at", range(150, 210, 3))
async def test_a_key_that_is_cut_in_an_endpoints_words_is_not_told_in_part(at: int) -> None:
    key = "sk-abcdefghijklmnopqrstuvwxyz0123456789"
    error = json.dumps({"error": {"message": "x" * at + key + " is wrong" * 50}}).encode()
    async with (
        villain(answer(error, b"HTTP/1.1 401 No\r\n")) as foe,
        bed(Seller("a", url=foe.url, key=key)) as it,
    ):
        got = await it.ask(CHAT)
        assert key[:8].encode() not in got.body
        assert key[:8] not in it.ended[0][0].detail


@pytest.mark.parametrize("body", [b"", b'{"error":{"mess'], ids=["none", "half"])
async def test_an_error_that_is_cut_is_told_in_words_of_ours(body: bytes) -> None:
    cut = b"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + body
    async with villain(cut) as foe, bed(Seller("a", url=foe.url)) as it:
        got = await it.ask(CHAT)
        assert (got.status, got.error["message"]) == (400, "the endpoint gave no reason")


# ---- never a truncated answer that looks whole -----------------------------------------------------------------------

SHORT: Body = {**CHAT, "messages": [{"role": "user", "content": "Hi [[tokens=4]]"}]}
ASKS: dict[str, tuple[str, Body]] = {
    "chat": ("/v1/chat/completions", SHORT),
    "chat stream": ("/v1/chat/completions", {**SHORT, "stream": True}),
    "completions": ("/v1/completions", {"model": "m", "prompt": "Hi [[tokens=4]]"}),
    "completions stream": ("/v1/completions", {"model": "m", "prompt": "Hi [[tokens=4]]", "stream": True}),
    "embeddings": ("/v1/embeddings", {"model": "m", "input": "Hi", "dimensions": 2}),
    "messages": ("/v1/messages", {**SHORT, "max_tokens": 50}),
    "messages stream": ("/v1/messages", {**SHORT, "max_tokens": 50, "stream": True}),
    "responses": ("/v1/responses", {"model": "m", "input": "Hi [[tokens=4]]"}),
    "responses stream": ("/v1/responses", {"model": "m", "input": "Hi [[tokens=4]]", "stream": True}),
}
WHOLE_MARKS = (b"data: [DONE]", b'"type":"message_stop"', b'"type":"response.completed"')


async def record(path: str, body: Body, seller: Seller) -> tuple[bytes, bytes]:
    """A recorded answer of a healthy endpoint to this request, with its head; and what the client has of it."""
    async with bed(seller) as it:
        upstream = it.gateway.targets[seller.id]
        got = await it.ask(body, path)
        assert got.status == 200
        sent = it.sims[seller.name].log.last
        host, port = upstream.host, upstream.port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"POST {sent.path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".encode())
        writer.write(
            b"Content-Type: application/json\r\nanthropic-version: 2023-06-01\r\nContent-Length: %d\r\n\r\n"
            % len(sent.body)
            + sent.body
        )
        raw = b""
        with contextlib.suppress(TimeoutError):  # (It keeps its connection, whatever is asked.)
            while data := await asyncio.wait_for(reader.read(1 << 20), 0.5):
                raw += data
        writer.close()
        assert raw.startswith(b"HTTP/1.1 200 ")
        return raw, got.body


def is_whole(stream: bool, body: bytes) -> bool:
    return any(mark in body for mark in WHOLE_MARKS) if stream else body[:1] == b"{" and body[-1:] == b"}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("native", [False, True], ids=["chat", "native"])
@pytest.mark.parametrize(("path", "body"), ASKS.values(), ids=ASKS)
async def test_an_answer_that_ends_at_any_byte_is_never_taken_for_whole(path: str, body: Body, native: bool) -> None:
    seller = Seller("a", apis=("chat", "completions", "embeddings", *(("messages", "responses") if native else ())))
    if native:
        seller = Seller("a", apis=seller.apis, features=seller.features | {"messages", "responses"})
    raw, whole = await record(path, body, seller)
    stream = bool(body.get("stream"))

    async def act(write: Write) -> None:
        await write(raw[: int(HEAD.get().lower().partition(b"x-request-id: ")[2].partition(b"\r\n")[0])])
        raise EOFError

    async def cut(it: Bed, at: int) -> int:
        """Ask an endpoint that ends its answer at this byte. 1: what came says that it is whole."""
        got = await it.ask(body, path, {"x-request-id": str(at)})
        if got.status == 200 and is_whole(stream, got.body):
            assert _text(got.body) == _text(whole), f"cut at {at} of {len(raw)}: {got.body!r}"
            return 1
        assert got.status >= 500 or b"error" in got.body, (at, got.status, got.body)
        return 0

    said_whole = 0
    offsets = [*range(0, len(raw), 1 if len(raw) < 2000 else 5), *range(len(raw) - 40, len(raw) + 1)]
    async with villain(act) as foe, bed(Seller("a", url=foe.url, features=seller.features)) as it:
        for start in range(0, len(offsets), 100):
            said_whole += sum(await asyncio.gather(*(cut(it, at) for at in offsets[start : start + 100])))
    assert said_whole >= 1, "the whole answer, at least, is whole"


def _text(body: bytes) -> list[str]:
    """Everything said, whatever the API."""
    found: list[str] = []
    for line in body.split(b"\n"):
        data = line.removeprefix(b"data: ")
        if data[:1] == b"{":
            value = json.loads(data)
            if value.get("type", "").endswith(("completed", "done", "added", "created", "in_progress")):
                continue
            _gather(value, found)
    return ["".join(found)]


def _gather(value: object, found: list[str]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("content", "text", "delta") and isinstance(inner, str):
                found.append(inner)
            else:
                _gather(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _gather(inner, found)
