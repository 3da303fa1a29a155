"""Each fault, seen on the wire from outside, on both event loops."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import jsonschema_rs
import pytest
import uvloop

from providerrank.sim.endpoint import SimEndpoint
from providerrank.sim.faults import QUIRKS, Fault, Play
from providerrank.sim.faulty import TLS_GARBAGE
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec
from tests.integration.sim_wire import CHAT, STREAM, End, Reply, Wire, ask, request

Check = Callable[[SimEndpoint], Awaitable[None]]
Run = Callable[[Check], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a check against an endpoint, on each kind of loop."""

    def run(check: Check) -> None:
        async def checked() -> None:
            async with SimProviders([EndpointSpec(name="one")]) as sims:
                await check(sims["one"])

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(checked())

    return run


CHECKS: dict[Fault, Check] = {}


def shows(*faults: Fault) -> Callable[[Check], Check]:
    def keep(check: Check) -> Check:
        CHECKS.update(dict.fromkeys(faults, check))
        return check

    return keep


@pytest.mark.parametrize("fault", list(Fault), ids=str)
def test_the_fault_is_what_its_sentence_says(fault: Fault, run: Run) -> None:
    wanted.set(fault)
    run(CHECKS[fault])


@pytest.mark.parametrize("fault", sorted(QUIRKS), ids=str)
@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["plain", "stream"])
def test_a_quirk_leaves_the_content_whole(fault: Fault, body: dict[str, Any], run: Run) -> None:
    async def check(sim: SimEndpoint) -> None:
        usual = await ask(sim.port, body)
        reply = await play(sim, Play(fault, seconds=0.01), body)
        if fault is Fault.GZIP_BODY:
            reply.body = zlib.decompress(reply.body, wbits=31)
        if fault is Fault.NON_JSON_EVENT:
            reply.body = reply.body.replace(b"data: {not json\n\n", b"")
        if fault is Fault.COMMENT_LINES:
            reply.body = reply.body.replace(b": keep-alive\n\n", b"")
        assert reply.text == usual.text != ""
        finish = reply.finish if body is STREAM else reply.json()["choices"][0]["finish_reason"]
        assert finish == "stop"

    run(check)


class _Wanted:
    """The fault a check shared by several is to look for."""

    fault = Fault.REFUSED

    def set(self, fault: Fault) -> None:
        self.fault = fault

    def get(self) -> Fault:
        return self.fault


wanted = _Wanted()


async def play(sim: SimEndpoint, play: Fault | Play, body: dict[str, Any], first_s: float = 5.0) -> Reply:
    sim.script([play])
    reply = await ask(sim.port, body, first_s=first_s)
    assert sim.script_left == 0
    return reply


# --- connections -----------------------------------------------------------------------------------------------------


@shows(Fault.REFUSED)
async def refused(sim: SimEndpoint) -> None:
    async with Wire(sim.port) as old:
        assert (await old.ask(CHAT)).status == 200
        await sim.switch(Fault.REFUSED)
        assert await old.read(None) is End.RESET
    with pytest.raises(ConnectionRefusedError):
        await ask(sim.port, CHAT)
    port = sim.port
    await sim.switch(None)
    assert (await ask(port, CHAT)).status == 200


@shows(Fault.CONNECT_HANG)
async def connect_hang(sim: SimEndpoint) -> None:
    await sim.switch(Fault.CONNECT_HANG)
    with pytest.raises(TimeoutError):
        await Wire(sim.port).connect(patience_s=0.3)
    await sim.switch(None)
    assert (await ask(sim.port, CHAT)).status == 200
    assert sim.log.requests == 1


@shows(Fault.RESET_ON_ACCEPT)
async def reset_on_accept(sim: SimEndpoint) -> None:
    sim.script([Fault.RESET_ON_ACCEPT])
    async with Wire(sim.port) as wire:
        assert await wire.read(None) is End.RESET
    assert (await ask(sim.port, CHAT)).status == 200
    assert (sim.log.connections, sim.log.requests) == (2, 1)


@shows(Fault.TLS_GARBAGE)
async def tls_garbage(sim: SimEndpoint) -> None:
    async with Wire(sim.port) as old:
        assert (await old.ask(CHAT)).status == 200
        sim.script([Fault.TLS_GARBAGE])
        assert await old.read(None) is End.EOF  # It makes way for a connection the fault can happen to.
    async with Wire(sim.port) as wire:
        await wire.send(b"\x16\x03\x01")
        assert await wire.read(None) == TLS_GARBAGE
        assert await wire.read(None) is End.EOF
    assert (await ask(sim.port, CHAT)).status == 200


@shows(Fault.STALE_KEEP_ALIVE)
async def stale_keep_alive(sim: SimEndpoint) -> None:
    sim.script([Fault.STALE_KEEP_ALIVE])
    async with Wire(sim.port) as wire:
        first = await wire.ask(CHAT)
        assert (first.status, first.end) == (200, End.COMPLETE)
        assert await wire.read() is End.QUIET  # Open still.
        second = await wire.ask(CHAT)
        assert (second.raw, second.end) == (b"", End.EOF)
    assert sim.log.requests == 1


@shows(Fault.CONNECTION_CLOSE)
async def connection_close(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        sim.script([Fault.CONNECTION_CLOSE])
        async with Wire(sim.port) as wire:
            reply = await wire.ask(body)
            assert reply.headers["connection"] == "close"
            assert reply.end is End.COMPLETE
            assert await wire.read(None) is End.EOF


# --- before the answer -----------------------------------------------------------------------------------------------


@shows(Fault.RESET_BEFORE_ANSWER)
async def reset_before_answer(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.RESET_BEFORE_ANSWER, body)
        assert (reply.raw, reply.end) == (b"", End.RESET)


@shows(Fault.CLOSE_BEFORE_ANSWER)
async def close_before_answer(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.CLOSE_BEFORE_ANSWER, body)
        assert (reply.raw, reply.end) == (b"", End.EOF)


@shows(Fault.RESET_AFTER_HEAD)
async def reset_after_head(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.RESET_AFTER_HEAD, body)
        assert (reply.status, reply.body, reply.end) == (200, b"", End.RESET)


@shows(Fault.HANG_BEFORE_HEAD)
async def hang_before_head(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.HANG_BEFORE_HEAD, CHAT, first_s=0.2)
    assert (reply.raw, reply.end) == (b"", End.QUIET)
    await left(sim)


@shows(Fault.HANG_AFTER_HEAD)
async def hang_after_head(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.HANG_AFTER_HEAD, body)
        assert (reply.status, reply.body, reply.end) == (200, b"", End.QUIET)
        await left(sim)


async def left(sim: SimEndpoint) -> None:
    """Wait until the endpoint has seen that we left, and that it was in the middle of its reply."""
    await sim.idle()
    assert sim.log.last.is_cancelled


@shows(Fault.SLOW_FIRST_TOKEN)
async def slow_first_token(sim: SimEndpoint) -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    reply = await play(sim, Play(Fault.SLOW_FIRST_TOKEN, seconds=0.2), STREAM)
    assert loop.time() - started_s > 0.19  # Never early, but for the clock's own milliseconds.
    assert (reply.end, reply.finish, reply.events[-1]) == (End.COMPLETE, "stop", "[DONE]")


@shows(Fault.INFORMATIONAL)
async def informational(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.INFORMATIONAL, body)
        assert (reply.statuses, reply.end) == ([103, 200], End.COMPLETE)


# --- statuses --------------------------------------------------------------------------------------------------------


@shows(*(fault for fault in Fault if fault.startswith("status_")))
async def status(sim: SimEndpoint) -> None:
    fault = wanted.get()
    for body in (CHAT, STREAM):
        reply = await play(sim, fault, body)
        assert (reply.status, reply.end) == (int(fault.removeprefix("status_")), End.COMPLETE)
        if fault in (Fault.STATUS_502, Fault.STATUS_504):
            assert reply.headers["content-type"].startswith("text/html")
            assert reply.body.startswith(b"<!doctype html>")
        else:
            assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


@shows(Fault.RATE_LIMIT)
async def rate_limit(sim: SimEndpoint) -> None:
    reply = await play(sim, Play(Fault.RATE_LIMIT, seconds=9), CHAT)
    assert (reply.status, reply.headers["retry-after"]) == (429, "9")
    assert (await play(sim, Fault.RATE_LIMIT, STREAM)).headers["retry-after"] == "1"


@shows(Fault.RATE_LIMIT_DATE)
async def rate_limit_date(sim: SimEndpoint) -> None:
    before = dt.datetime.now(dt.UTC)
    reply = await play(sim, Play(Fault.RATE_LIMIT_DATE, seconds=90), CHAT)
    after = dt.datetime.now(dt.UTC)
    until = email.utils.parsedate_to_datetime(reply.headers["retry-after"])
    wait = dt.timedelta(seconds=90)
    assert reply.status == 429
    assert before + wait <= until <= after + wait + dt.timedelta(seconds=1)


@shows(Fault.RATE_LIMIT_BARE)
async def rate_limit_bare(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.RATE_LIMIT_BARE, CHAT)
    assert reply.status == 429
    assert "retry-after" not in reply.headers
    assert reply.json()["error"]["code"] == "rate_limit_exceeded"


@shows(Fault.CONTEXT_LENGTH)
async def context_length(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.CONTEXT_LENGTH, STREAM)
    assert (reply.status, reply.json()["error"]["code"]) == (400, "context_length_exceeded")


@shows(Fault.CONTENT_POLICY)
async def content_policy(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.CONTENT_POLICY, STREAM)
    assert (reply.status, reply.json()["error"]["code"]) == (400, "content_policy_violation")


@shows(Fault.UNSUPPORTED_400)
async def unsupported_400(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.UNSUPPORTED_400, {**CHAT, "seed": 1})
    error = reply.json()["error"]
    assert (reply.status, error["code"], error["param"]) == (400, "unsupported_parameter", "seed")


@shows(Fault.UNSUPPORTED_422)
async def unsupported_422(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.UNSUPPORTED_422, {**CHAT, "seed": 1})
    assert reply.status == 422
    assert "seed" in reply.json()["error"]["message"]


# --- bodies ----------------------------------------------------------------------------------------------------------


@shows(Fault.MALFORMED_JSON)
async def malformed_json(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.MALFORMED_JSON, body)
        assert (reply.status, reply.headers["content-type"], reply.end) == (200, "application/json", End.COMPLETE)
        with pytest.raises(ValueError, match="Expecting value"):
            reply.json()


@shows(Fault.EMPTY_BODY)
async def empty_body(sim: SimEndpoint) -> None:
    for body, kind in ((CHAT, "application/json"), (STREAM, "text/event-stream; charset=utf-8")):
        reply = await play(sim, Fault.EMPTY_BODY, body)
        assert (reply.status, reply.body, reply.end) == (200, b"", End.COMPLETE)
        assert reply.headers["content-type"] == kind


@shows(Fault.TRUNCATED_BODY)
async def truncated_body(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.TRUNCATED_BODY, body)
        assert (reply.status, reply.end) == (200, End.EOF)
        assert 0 < len(reply.body) < int(reply.headers["content-length"])


@shows(Fault.CUT_JSON)
async def cut_json(sim: SimEndpoint) -> None:
    plain = await play(sim, Fault.CUT_JSON, CHAT)
    assert (plain.status, plain.end) == (200, End.COMPLETE)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        plain.json()
    stream = await play(sim, Fault.CUT_JSON, STREAM)
    assert (stream.status, stream.end, stream.finish) == (200, End.COMPLETE, None)
    assert stream.text
    assert not stream.body.endswith(b"\n\n")


@shows(Fault.HTML_BODY)
async def html_body(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.HTML_BODY, body)
        assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert reply.body.startswith(b"<!doctype html>")


@shows(Fault.ERROR_OBJECT)
async def error_object(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.ERROR_OBJECT, body)
        assert (reply.status, list(reply.json())) == (200, ["error"])


@shows(Fault.HUGE_BODY)
async def huge_body(sim: SimEndpoint) -> None:
    usual = (await ask(sim.port, CHAT)).text
    for body in (CHAT, STREAM):
        reply = await play(sim, Play(Fault.HUGE_BODY, size=3_000_000), body)
        assert (reply.status, reply.end) == (200, End.COMPLETE)
        assert 3_000_000 < len(reply.body) < 3_100_000
        assert reply.text == usual  # Valid JSON: nothing but its size is wrong.
        if body is STREAM:
            assert max(map(len, reply.events)) > 3_000_000


# --- streams ---------------------------------------------------------------------------------------------------------


@shows(Fault.STALL_BEFORE_CONTENT)
async def stall_before_content(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.STALL_BEFORE_CONTENT, STREAM)
    assert (len(reply.events), reply.text, reply.end) == (1, "", End.QUIET)
    assert reply.objects[0]["choices"][0]["delta"]["role"] == "assistant"
    await left(sim)


@shows(Fault.CUT_BEFORE_CONTENT)
async def cut_before_content(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.CUT_BEFORE_CONTENT, STREAM)
    assert (len(reply.events), reply.text, reply.end) == (1, "", End.RESET)


@shows(Fault.STALL_MID_STREAM)
async def stall_mid_stream(sim: SimEndpoint) -> None:
    usual = (await ask(sim.port, CHAT)).text
    reply = await play(sim, Play(Fault.STALL_MID_STREAM, after=5), STREAM)
    assert (len(reply.events), reply.end) == (1 + 5, End.QUIET)
    assert usual.startswith(reply.text)
    assert len(reply.text) < len(usual)
    await left(sim)
    resumed = await play(sim, Play(Fault.STALL_MID_STREAM, after=5, seconds=0.05), STREAM)
    assert (resumed.text, resumed.end) == (usual, End.COMPLETE)


@shows(Fault.CUT_ABORT)
async def cut_abort(sim: SimEndpoint) -> None:
    usual = (await ask(sim.port, CHAT)).text
    reply = await play(sim, Fault.CUT_ABORT, STREAM)
    assert (len(reply.events), reply.end) == (1 + 12, End.RESET)
    assert usual.startswith(reply.text)
    assert len(reply.text) < len(usual)


@shows(Fault.CUT_CLEAN)
async def cut_clean(sim: SimEndpoint) -> None:
    usual = (await ask(sim.port, CHAT)).text
    reply = await play(sim, Fault.CUT_CLEAN, STREAM)
    assert (len(reply.events), reply.finish, reply.end) == (1 + 12, None, End.COMPLETE)
    assert usual.startswith(reply.text)
    assert len(reply.text) < len(usual)


SCHEMA = {"type": "object", "properties": {"n": {"const": "a long enough argument"}}, "required": ["n"]}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]


@shows(Fault.TOOL_CUT)
async def tool_cut(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.TOOL_CUT, {**STREAM, "tools": TOOLS})
    calls = [choice["delta"]["tool_calls"][0]["function"] for one in reply.objects for choice in one["choices"]]
    assert calls[0]["name"] == "f"
    arguments = "".join(call["arguments"] for call in calls)
    assert '{"n":"a long enough argument"}'.startswith(arguments)
    assert 0 < len(arguments) < 30
    assert reply.end is End.RESET


@shows(Fault.ERROR_EVENT_FIRST)
async def error_event_first(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.ERROR_EVENT_FIRST, STREAM)
    assert (reply.status, reply.end) == (200, End.COMPLETE)
    assert [list(one) for one in reply.objects] == [["error"]]


@shows(Fault.ERROR_EVENT_MIDWAY)
async def error_event_midway(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.ERROR_EVENT_MIDWAY, STREAM)
    assert (reply.end, reply.finish, len(reply.events)) == (End.COMPLETE, None, 1 + 12 + 1)
    assert "error" in reply.objects[-1]
    assert reply.text


@shows(Fault.NO_FINISH)
async def no_finish(sim: SimEndpoint) -> None:
    usual = (await ask(sim.port, CHAT)).text
    reply = await play(sim, Fault.NO_FINISH, STREAM)
    assert (reply.text, reply.finish, reply.end) == (usual, None, End.COMPLETE)
    assert "[DONE]" not in reply.events


@shows(Fault.NO_DONE)
async def no_done(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.NO_DONE, STREAM)
    assert (reply.finish, reply.end) == ("stop", End.COMPLETE)
    assert "[DONE]" not in reply.events


@shows(Fault.NO_DONE_HELD)
async def no_done_held(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.NO_DONE_HELD, STREAM)
    assert (reply.finish, reply.end) == ("stop", End.QUIET)
    assert "[DONE]" not in reply.events
    await left(sim)


@shows(Fault.NON_JSON_EVENT)
async def non_json_event(sim: SimEndpoint) -> None:
    usual = await ask(sim.port, STREAM)
    reply = await play(sim, Fault.NON_JSON_EVENT, STREAM)
    assert len(reply.events) == len(usual.events) + 1
    assert reply.events[1 + 12] == "{not json"
    assert reply.end is End.COMPLETE


@shows(Fault.SPLIT_BYTES)
async def split_bytes(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.SPLIT_BYTES, STREAM)
    assert len(reply.chunks) == len(reply.events) + 2
    assert len(reply.pieces) > 1
    assert not any(chunk.endswith(b"\n\n") for chunk in reply.chunks[:-1])
    assert reply.events[-1] == "[DONE]"


@shows(Fault.SPLIT_UTF8)
async def split_utf8(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.SPLIT_UTF8, STREAM)
    beyond_ascii = sum(1 for character in reply.text if ord(character) > 127)
    halves = [chunk for chunk in reply.chunks if chunk[-1] >= 0xC0]
    assert len(halves) == beyond_ascii > 0


@shows(Fault.CRLF_LINES)
async def crlf_lines(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.CRLF_LINES, STREAM)
    assert reply.body.count(b"\r\n") == reply.body.count(b"\n") == 2 * len(reply.events)


@shows(Fault.COMMENT_LINES)
async def comment_lines(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.COMMENT_LINES, STREAM)
    assert reply.body.startswith(b": keep-alive\n\n")
    assert reply.body.count(b": keep-alive\n\n") == 1 + len(reply.events)


# --- frames and bills ------------------------------------------------------------------------------------------------


@shows(Fault.CHUNKED_BODY)
async def chunked_body(sim: SimEndpoint) -> None:
    reply = await play(sim, Fault.CHUNKED_BODY, CHAT)
    assert reply.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in reply.headers
    assert len(reply.chunks) >= 3
    assert reply.end is End.COMPLETE
    assert reply.text


@shows(Fault.CLOSE_DELIMITED)
async def close_delimited(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        usual = await ask(sim.port, body)
        reply = await play(sim, Fault.CLOSE_DELIMITED, body)
        assert not {"content-length", "transfer-encoding"} & set(reply.headers)
        assert (reply.end, reply.text) == (End.EOF, usual.text)


@shows(Fault.GZIP_BODY)
async def gzip_body(sim: SimEndpoint) -> None:
    for body in (CHAT, STREAM):
        reply = await play(sim, Fault.GZIP_BODY, body)
        assert (reply.headers["content-encoding"], reply.end) == ("gzip", End.COMPLETE)
        unpacker = zlib.decompressobj(wbits=31)
        reply.body = unpacker.decompress(reply.body)
        assert unpacker.eof
        assert reply.text


@shows(Fault.NO_USAGE)
async def no_usage(sim: SimEndpoint) -> None:
    assert "usage" not in (await play(sim, Fault.NO_USAGE, CHAT)).json()
    assert not any("usage" in one for one in (await play(sim, Fault.NO_USAGE, STREAM)).objects)


@shows(Fault.OVER_BILLING)
async def over_billing(sim: SimEndpoint) -> None:
    usual = (await ask(sim.port, CHAT)).json()["usage"]
    assert usual["completion_tokens"] == 24
    doubled = {name: 2 * count for name, count in usual.items()}
    assert (await play(sim, Fault.OVER_BILLING, CHAT)).json()["usage"] == doubled
    assert (await play(sim, Fault.OVER_BILLING, STREAM)).objects[-1]["usage"] == doubled
    tripled = (await play(sim, Play(Fault.OVER_BILLING, factor=3.0), CHAT)).json()["usage"]
    assert tripled["completion_tokens"] == 72


@shows(Fault.SCHEMA_VIOLATION)
async def schema_violation(sim: SimEndpoint) -> None:
    body = {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}
    jsonschema_rs.validate(SCHEMA, json.loads((await ask(sim.port, body)).text))
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads((await play(sim, Fault.SCHEMA_VIOLATION, body)).text)


def test_a_reset_waits_for_what_was_sent_before_it(run: Run) -> None:
    """More than a socket's buffer precedes the reset, and arrives."""
    body = {**STREAM, "messages": [{"role": "user", "content": "[[tokens=60000]]"}]}

    async def check(sim: SimEndpoint) -> None:
        reply = await play(sim, Play(Fault.CUT_ABORT, after=40_000), body)
        assert len(reply.events) == 1 + 40_000
        assert reply.end is End.RESET

    run(check)


def test_pipelined_requests_are_answered_in_order(run: Run) -> None:
    async def check(sim: SimEndpoint) -> None:
        sim.script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.05), Fault.STATUS_500])
        async with Wire(sim.port) as wire:
            await wire.send(request(CHAT) * 3)
            data = b""
            while data.count(b"HTTP/1.1 ") < 3:
                got = await wire.read(None)
                assert isinstance(got, bytes)
                data += got
        assert [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]] == [b"200", b"500", b"200"]

    run(check)
