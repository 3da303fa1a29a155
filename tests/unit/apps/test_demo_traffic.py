"""The demo's client calls an answer whole only when it is: tried on a server that says exactly what it is told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest

from providerrank.apps.demo.summary import Failure, Tally
from providerrank.apps.demo.traffic import IncompleteAnswerError, Kind, Traffic

ROLE = (
    'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m",'
    '"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
)


def event(text: str) -> str:
    return ROLE.replace('"role":"assistant"', f'"content":{text!r}'.replace("'", '"'))


FINISH = ROLE.replace('{"role":"assistant"}', "{}").replace("null", '"stop"')
DONE = "data: [DONE]\n\n"
HELLO = event("Hello") + event(" there")


def plain(content: str, finish: str | None = "stop") -> str:
    reason = "null" if finish is None else f'"{finish}"'
    return (
        '{"id":"1","object":"chat.completion","created":1,"model":"m","choices":'
        f'[{{"index":0,"message":{{"role":"assistant","content":{content}}},"finish_reason":{reason}}}]}}'
    )


@asynccontextmanager
async def asking(
    body: str, kind: str = "text/event-stream", cut: bool = False, tally: Tally | None = None
) -> AsyncIterator[Traffic]:
    """Traffic towards a server that answers everything with ``body``; ``cut``: and stops short of its length."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nx-providerrank-endpoint: a/m\r\nConnection: close\r\n"
    length = len(body.encode()) + (10 if cut else 0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        size = next(int(line[15:]) for line in request.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(size)
        writer.write(f"{head}Content-Length: {length}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    traffic = Traffic(url, "m", tally or Tally(), random.Random(1), time.monotonic)
    try:
        yield traffic
    finally:
        await traffic.close()
        server.close()


async def test_a_whole_stream_is_an_answer_with_its_endpoint_and_its_ttft() -> None:
    async with asking(ROLE + HELLO + FINISH + DONE) as traffic:
        answer = await traffic.ask(Kind.STORY)
    assert (answer.text, answer.endpoint_id) == ("Hello there", "a/m")
    assert answer.ttft_us is not None


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        (ROLE + HELLO + FINISH, "DONE"),
        (ROLE + HELLO + DONE, "finish reason"),
        (ROLE + FINISH + DONE, "no content"),
        (HELLO, "finish reason"),
    ],
)
async def test_a_stream_that_is_not_whole_is_a_failure(body: str, missing: str) -> None:
    async with asking(body) as traffic:
        with pytest.raises(IncompleteAnswerError, match=missing):
            await traffic.ask(Kind.STORY)


async def test_a_stream_cut_on_the_wire_is_a_failure() -> None:
    async with asking(ROLE + HELLO, cut=True) as traffic:
        with pytest.raises(openai.APIConnectionError):
            await traffic.ask(Kind.STORY)


async def test_an_error_event_is_a_failure() -> None:
    async with asking(HELLO + 'data: {"error":{"message":"gone"}}\n\n') as traffic:
        with pytest.raises(openai.APIError, match="gone"):
            await traffic.ask(Kind.LIST)


@pytest.mark.parametrize("body", [plain("null"), plain('"hi"', finish=None), plain('""')])
async def test_a_plain_answer_without_content_or_finish_reason_is_a_failure(body: str) -> None:
    async with asking(body, "application/json") as traffic:
        with pytest.raises(IncompleteAnswerError):
            await traffic.ask(Kind.CHAT)


async def test_json_must_be_the_json_that_was_asked_for() -> None:
    good, doubled, other = r'"{\"city\":\"a\",\"country\":\"b\"}"', r'"{\"city\":\"aa\"\"a\"}"', r'"{\"city\":\"a\"}"'
    async with asking(plain(good), "application/json") as traffic:
        assert (await traffic.ask(Kind.JSON)).ttft_us is None
    for bad in (doubled, other):
        async with asking(plain(bad), "application/json") as traffic:
            with pytest.raises(IncompleteAnswerError, match="JSON"):
                await traffic.ask(Kind.JSON)


async def test_traffic_tallies_failures_with_their_reason_and_ends_when_told() -> None:
    stop = asyncio.Event()

    class StoppingTally(Tally):
        def add_failure(self, failure: Failure) -> None:
            super().add_failure(failure)
            stop.set()

    tally = StoppingTally()
    async with asking(ROLE + HELLO + FINISH, tally=tally) as traffic:
        await traffic.run(stop, workers=2)
    assert tally.requests == len(tally.failures) > 0
    assert all(failure.reason for failure in tally.failures)
