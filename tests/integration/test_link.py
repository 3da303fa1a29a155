"""Two ends of a socket pair: what is told, asked, answered, and what happens when one of them is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from providerrank.apps.workers import link as module
from providerrank.apps.workers.link import Link

WAIT_S = 10.0


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Link, Link]]:
    one, other = Link(), Link()
    here, there = socket.socketpair()
    await one.connect(here)
    await other.connect(there)
    try:
        yield one, other
    finally:
        one.close()
        other.close()
        await asyncio.wait_for(asyncio.gather(one.lost.wait(), other.lost.wait()), WAIT_S)


async def echo(body: bytes) -> bytes:
    return body * 2


async def fail(_: bytes) -> bytes:
    raise ValueError("a mistake")


async def hang(_: bytes) -> bytes:
    await asyncio.sleep(3_600)
    return b""


async def test_both_ends_may_tell_and_ask() -> None:
    told: list[bytes] = []
    async with pair() as (one, other):
        other.on_tell["word"] = told.append
        other.on_tell["mistake"] = lambda body: 1 // len(body)
        one.on_ask["echo"] = other.on_ask["echo"] = echo
        one.tell("word", b"first")
        one.tell("mistake")
        one.tell("unknown")
        one.tell("word", b"second")
        assert await one.ask("echo", b"x" * 1_000_000, within_s=WAIT_S) == b"x" * 2_000_000
        assert await other.ask("echo", b"y", within_s=WAIT_S) == b"yy"
    assert told == [b"first", b"second"]


async def test_what_cannot_be_answered_is_answered_by_nothing() -> None:
    async with pair() as (one, other):
        other.on_ask.update(fail=fail, hang=hang, echo=echo)
        assert await one.ask("unknown", within_s=WAIT_S) is None
        assert await one.ask("fail", within_s=WAIT_S) is None
        assert await one.ask("hang", within_s=0.05) is None
        assert await one.ask("echo", b"a", within_s=WAIT_S) == b"aa"
        for task in other._answering:
            task.cancel()


async def test_who_asks_one_that_goes_away_does_not_wait_for_it() -> None:
    async with pair() as (one, other):
        other.on_ask["hang"] = hang
        asked = asyncio.create_task(one.ask("hang", within_s=3_600))
        while not other._answering:
            await asyncio.sleep(0.001)
        other.close()
        assert await asyncio.wait_for(asked, WAIT_S) is None
        assert await one.ask("hang", within_s=WAIT_S) is None
        one.tell("word")
        for task in other._answering:
            task.cancel()


async def test_one_that_does_not_read_misses_what_it_may_miss() -> None:
    async with pair() as (one, other):
        told: list[int] = []
        other.on_tell["big"] = lambda body: told.append(len(body))
        assert other._transport is not None
        assert one._transport is not None
        other._transport.pause_reading()
        for _ in range(40):
            one.tell("big", bytes(1 << 20), may_miss=True)
        held = one._transport.get_write_buffer_size()
        assert held <= module.MAX_UNREAD_BYTES + (2 << 20)
        one.tell("big", b"must")
        other._transport.resume_reading()
        deadline = asyncio.get_running_loop().time() + WAIT_S
        while told[-1:] != [4]:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        assert len(told) < 40


async def test_bytes_that_are_no_frames_end_the_link() -> None:
    link = Link()
    here, there = socket.socketpair()
    await link.connect(here)
    with there:
        there.send(b"\xff\xff\xff\xff")
        await asyncio.wait_for(link.lost.wait(), WAIT_S)
