"""Asks endpoints over HTTP, as any client would, and times what comes.

Requests are streamed, so that the first token is seen when it comes; they carry nothing that tells a probe from other
traffic. The body is the challenge's, with the model's name and the streaming switch. Answers are bounded; clocks bound
the rest. The same connection pool serves all endpoints, as a client's does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from providerrank.market.asking import Probe
from providerrank.market.faults import TICK_US, Stalls, Witnesses
from providerrank.rules.cells import Cell
from providerrank.rules.challenges.shape import Answer, Challenge
from providerrank.rules.market_params import MARKET
from providerrank.rules.observation import Outcome
from providerrank.wire import answer as wire
from providerrank.wire.errors import Malformed
from providerrank.wire.probe_answer import AnswerReader
from providerrank.wire.sse import DONE, EventReader, EventTooLong

CONNECT_S: Final = 5.0
IDLE_S: Final = 30.0
TOTAL_S: Final = 120.0
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of one answer; the longest challenge asks for 600 tokens."""
RATE_LIMITED: Final = 429
REFUSED_US: Final = frozenset({401, 402, 403, 404})
OUR_REQUEST: Final = frozenset({400, 405, 406, 411, 413, 414, 415, 422})
"""What a request of ours may be wrong in: no other client's would be."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an endpoint is, and what it is asked with."""

    url: str
    """Base URL, without a slash at its end."""
    upstream_model: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds."""

    connect_s: float = CONNECT_S
    idle_s: float = IDLE_S
    total_s: float = TOTAL_S


class HttpProber:
    """A ``Prober``; to be made and used on one event loop."""

    def __init__(self, targets: Mapping[str, Target], clocks: Clocks | None = None, concurrency: int = 8) -> None:
        """``targets`` by endpoint id; at most ``concurrency`` requests at a time: more would time ourselves."""
        self._targets = targets
        self._clocks = clocks or Clocks()
        self._turns = asyncio.Semaphore(concurrency)
        timeout = httpx.Timeout(self._clocks.idle_s, connect=self._clocks.connect_s)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=concurrency * 4)
        self._client = httpx.AsyncClient(timeout=timeout, limits=limits, follow_redirects=False)
        self._witnesses = Witnesses()
        self._stalls = Stalls()
        self._ticking: asyncio.Task[None] | None = None

    async def ask(self, cell: Cell, challenge: Challenge) -> Probe:
        """Send one challenge."""
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick(), name="stalls")
        async with self._turns:
            return await self._ask(cell, challenge)

    async def close(self) -> None:
        """Close the pool."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        await self._client.aclose()

    async def _ask(self, cell: Cell, challenge: Challenge) -> Probe:
        target = self._targets[cell.endpoint_id]
        provider = cell.endpoint_id.partition("/")[0]
        body = {
            "model": target.upstream_model,
            **challenge.body,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {} if target.key is None else {"authorization": f"Bearer {target.key}"}
        heard = _Heard(challenge.pinned.max_tokens)
        started_us, began = time.time_ns() // 1_000, time.perf_counter_ns()
        outcome, fault = Outcome.FAILURE, ""
        try:
            async with asyncio.timeout(self._clocks.total_s):
                url = f"{target.url}/chat/completions"
                async with self._client.stream("POST", url, json=body, headers=headers) as response:
                    self._witnesses.note(provider, time.time_ns() // 1_000)
                    outcome, fault = _judge_status(response.status_code)
                    if outcome is Outcome.SUCCESS:
                        is_stream = "text/event-stream" in response.headers.get("content-type", "")
                        async for chunk in response.aiter_bytes():
                            heard.feed(chunk, (time.perf_counter_ns() - began) // 1_000, is_stream=is_stream)
                        outcome = heard.judge(is_stream=is_stream)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            outcome = Outcome.FAILURE
            if self._witnesses.is_ours(provider, time.time_ns() // 1_000):
                fault = "no provider can be reached: our own network may be down"
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, EventTooLong, Malformed):
            outcome = Outcome.FAILURE
        except OSError:
            outcome, fault = Outcome.NOBODYS, "this machine could not open a connection"
        total_us = heard.done_us or (time.perf_counter_ns() - began) // 1_000
        is_timed = outcome is Outcome.SUCCESS and heard.ttft_us is not None
        if is_timed and self._stalls.is_spoilt(began // 1_000, heard.ttft_us or 0):
            fault = "this machine was too busy to time it"
        return heard.build(started_us, total_us, outcome, fault)

    async def _tick(self) -> None:
        """Note how late the loop is."""
        while True:
            due_us = time.perf_counter_ns() // 1_000 + TICK_US
            await asyncio.sleep(TICK_US / 1_000_000)
            self._stalls.note(due_us, time.perf_counter_ns() // 1_000)


def _judge_status(status: int) -> tuple[Outcome, str]:
    """What a status says; 200 is still to be judged by its body."""
    if status == 200:
        return Outcome.SUCCESS, ""
    if status == RATE_LIMITED:
        return Outcome.RATE_LIMITED, "the endpoint limits our rate"
    if status in REFUSED_US:
        return Outcome.REFUSED_US, "the endpoint refuses our key, balance or model name"
    if status in OUR_REQUEST:
        return Outcome.NOBODYS, "the endpoint takes no such request"
    return Outcome.FAILURE, ""


class _Heard:
    """An answer as far as it has come."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._events = EventReader()
        self._answer = AnswerReader()
        self._whole = bytearray()
        self._size = 0
        self.ttft_us: int | None = None
        self.done_us: int | None = None
        """When the stream said that it was over; what the connection does afterwards is not the answer's time."""

    def feed(self, chunk: bytes, at_us: int, *, is_stream: bool) -> None:
        """Take bytes that came ``at_us`` after the request was sent."""
        self._size += len(chunk)
        if self._size > MAX_BYTES:
            raise EventTooLong(f"an answer exceeds {MAX_BYTES} bytes")
        if not is_stream:
            self._whole += chunk
            self.ttft_us = self.ttft_us or at_us
            return
        for payload in self._events.feed(chunk):
            if payload == DONE:
                self.done_us = at_us
            elif self._answer.feed(wire.read_event(payload)) and self.ttft_us is None:
                self.ttft_us = at_us

    def judge(self, *, is_stream: bool) -> Outcome:
        """Whether what came is a whole answer. Raises ``Malformed`` for what is none."""
        if not is_stream:
            self._answer.feed_whole(bytes(self._whole))
        return Outcome.SUCCESS if self._answer.is_whole and self.ttft_us is not None else Outcome.FAILURE

    def build(self, started_us: int, total_us: int, outcome: Outcome, fault: str) -> Probe:
        """Put the probe together; only a whole answer is shown, and only counts of tokens that it can have."""
        is_whole = outcome is Outcome.SUCCESS
        answer = self._answer.get() if is_whole else Answer()
        tokens_in, tokens_out = self._answer.tokens if is_whole else (None, None)
        if tokens_out is not None and not (
            tokens_out <= self._max_tokens and get_text_bytes(answer) <= tokens_out * MARKET.token_bytes_max
        ):
            # What cannot be true is not repeated: whoever signs it would answer for it.
            tokens_out = None
        return Probe(
            started_us,
            outcome,
            self.ttft_us if is_whole else None,
            max(total_us, self.ttft_us or 0),
            tokens_in,
            tokens_out,
            answer,
            fault,
        )


def get_text_bytes(answer: Answer) -> int:
    """Bytes of an answer's text."""
    return len(answer.text.encode("utf-8", "replace"))
