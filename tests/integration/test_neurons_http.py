"""A validator asks hostile miners over real sockets: whatever they do is one code, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from providerrank.engines import neurons_http
from providerrank.engines.neurons_http import HttpNeurons, is_private
from providerrank.market.neurons import NotShown
from providerrank.market.ports import Neuron
from tests.chains import get_address, make_key

TOTAL_S = 1.0
MOST = 10_000


def make_neuron(address: str | None) -> Neuron:
    return Neuron(
        uid=1,
        hotkey=get_address("miner"),
        coldkey=get_address("miner"),
        stake_rao=0,
        active=True,
        permit=False,
        last_update=0,
        registered_at=0,
        trust_u16=0,
        consensus_u16=0,
        incentive_u16=0,
        dividends_u16=0,
        emission_rao=0,
        address=address,
    )


@asynccontextmanager
async def answering(*pieces: bytes, endless: bytes = b"", pause_s: float = 0.0) -> AsyncIterator[tuple[str, list[int]]]:
    """A miner that says this to every request; its address, and a list that grows by one for each."""
    asked: list[int] = []
    living: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        living.add(writer)
        asked.append(1)
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
            while endless:
                writer.write(endless)
                await writer.drain()
                await asyncio.sleep(pause_s)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            living.discard(writer)
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for writer in list(living):
            writer.transport.abort()
        await server.wait_closed()


async def get_code(address: str | None, *, allow_private: bool = True) -> str:
    neurons = HttpNeurons(make_key("validator"), allow_private=allow_private, total_s=TOTAL_S)
    try:
        with pytest.raises(NotShown) as refused:
            await neurons.fetch_bundle(make_neuron(address), 0)
    finally:
        await neurons.close()
    return refused.value.code


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neurons_http, "MAX_BYTES", MOST)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with answering(head, endless=b"400\r\n" + b"x" * 1_024 + b"\r\n") as (address, asked):
        assert await get_code(address) == "oversized"
        assert asked == [1], "what is too big is not asked for again"


async def test_an_answer_that_drips_ends_with_the_clock() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"
    async with answering(head, endless=b"x", pause_s=0.05) as (address, asked):
        async with asyncio.timeout(10 * TOTAL_S):
            assert await get_code(address) == "unreachable"
        assert len(asked) == neurons_http.TRIES


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "withheld"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "withheld"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut", "unreachable"),
        (b"nonsense\r\n\r\n", "unreachable"),
        (b"", "unreachable"),
    ],
)
async def test_what_is_no_bundle_has_a_code(said: bytes, code: str) -> None:
    async with answering(said) as (address, _):
        assert await get_code(address) == code


async def test_an_address_inside_the_network_is_not_asked_unless_allowed() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as (address, asked):
        assert await get_code(address, allow_private=False) == "unreachable"
        assert asked == []
    assert await get_code(None) == "unreachable"


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("8.8.8.8:80", False),
        ("[2001:4860:4860::8888]:80", False),
        ("127.0.0.1:80", True),
        ("10.0.0.1:80", True),
        ("169.254.169.254:80", True),
        ("[::1]:80", True),
        ("localhost:80", True),
        ("", True),
    ],
)
def test_what_is_private(address: str, private: bool) -> None:
    assert is_private(address) is private
