"""Other settings while requests are under way: what began goes on, what begins obeys, what is gone is let go of."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import cast

from providerrank.gateway.listening import Listening
from providerrank.gateway.settings import Clocks, GatewaySettings
from providerrank.rules.catalog import Catalog, ModelRules
from providerrank.sim.faults import Fault
from providerrank.sim.spec import EndpointSpec
from tests.integration.gateway_bed import (
    CHAT,
    CHAT_PATH,
    STREAM,
    Bed,
    Seller,
    assert_whole,
    bed,
    post,
    until,
)

KEY = {"Authorization": "Bearer sk-new"}


def reload(it: Bed, *names: str, **fields: object) -> None:
    """Keep these endpoints only, in this order; ``fields`` are the gateway's other settings."""
    gateway = it.gateway
    known = it.upstreams
    upstreams = tuple(known[name] for name in names)
    rules = ModelRules("m", pin=tuple(known[name].endpoint.id for name in names))
    catalog = Catalog(tuple(one.endpoint for one in upstreams), (rules,), gateway.router._boards.catalog.buyer)
    settings: GatewaySettings = replace(gateway.settings, upstreams=upstreams, **fields)  # type: ignore[arg-type]  # by name
    gateway.router.reconfigure(catalog)
    gateway.reconfigure(settings)


async def test_a_request_under_way_ends_where_it_began_and_the_next_goes_elsewhere() -> None:
    slow = EndpointSpec(name="a", tokens_per_s=40.0)
    async with bed(Seller("a", spec=slow), Seller("b")) as it, it.wire() as wire:
        wire.send(post(STREAM))
        begin = await wire.read_until(b'"content":"')
        reload(it, "b")

        assert (await it.ask(CHAT)).endpoint == "b"
        assert "a/m" in it.gateway.targets
        answer = await wire.answer(begin)
        assert_whole(answer, STREAM)
        assert answer.endpoint == "a"
        await until(lambda: "a/m" not in it.gateway.targets)
        assert not it.gateway.router.has_retired
        # Its connection is closed, its counts are not forgotten.
        await until(lambda: not it.gateway.pool._leaving, within_s=10)
        assert it.gateway.stats.attempts["a/m", "success"] == 1


async def test_one_that_is_gone_is_still_the_fallback_of_what_began_before() -> None:
    clocks = Clocks(first_token_us=400_000)
    async with bed(Seller("a"), Seller("b"), Seller("c"), clocks=clocks) as it:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        asked = asyncio.ensure_future(it.ask(CHAT))
        await until(lambda: len(it.sims["a"].log) == 1)
        reload(it, "c")
        answer = await asked
        assert_whole(answer, CHAT)
        assert answer.endpoint == "b"
        assert (await it.ask(CHAT)).endpoint == "c"


async def test_open_connections_of_what_stays_are_kept() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        assert (await it.ask(CHAT)).endpoint == "a"
        target = it.gateway.targets["a/m"]
        for number in range(5):
            reload(it, *("ab" if number % 2 else "ba"))
            assert it.gateway.targets["a/m"] is target
        changed = replace(it.upstreams["a"], upstream_model="another")
        it.upstreams["a"] = changed
        reload(it, "a", "b")
        assert it.gateway.targets["a/m"] is not target
        assert (await it.ask(CHAT)).endpoint == "a"
        assert it.sims["a"].log.connections == 1
        assert it.received("a")[-1]["model"] == "another"
        assert it.gateway.stats.attempts["a/m", "success"] == 2


async def test_an_address_that_changes_is_asked_at_its_new_place() -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        await it.ask(CHAT)
        it.upstreams["a"] = replace(it.upstreams["a"], base_url=it.upstreams["b"].base_url)
        reload(it, "a")
        assert_whole(await it.ask(CHAT), CHAT)
        assert (len(it.sims["a"].log), len(it.sims["b"].log)) == (1, 1)
        await until(lambda: it.gateway._sweeper is not None and not it.gateway.pool._leaving, within_s=10)


async def test_a_key_that_is_required_from_now_on_is_required_of_whoever_is_connected() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        assert_whole(await wire.ask(CHAT), CHAT)
        reload(it, "a", keys=("sk-new",))
        assert (await wire.ask(CHAT)).status == 401
        assert_whole(await wire.ask(CHAT, CHAT_PATH, KEY), CHAT)
        reload(it, "a", keys=())
        assert_whole(await wire.ask(CHAT), CHAT)


async def test_limits_hold_for_whoever_is_connected() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        assert_whole(await wire.ask(CHAT), CHAT)
        reload(it, "a", limits=replace(it.gateway.limits, max_body_bytes=10))
        assert (await wire.ask(CHAT)).status == 413


async def test_an_old_key_is_not_shown_by_an_answer_that_comes_after_it_was_replaced() -> None:
    received, may_answer = asyncio.Event(), asyncio.Event()

    async def quote(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        received.set()
        await may_answer.wait()
        [key] = [line.split()[-1] for line in head.split(b"\r\n") if line.startswith(b"Authorization")]
        body = b'{"error": {"message": "bad key %b"}}' % key
        writer.write(
            b"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        writer.close()

    server = await asyncio.start_server(quote, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, bed(Seller("a", url=url, key="sk-upstream-old")) as it:
        asked = asyncio.ensure_future(it.ask(CHAT))
        await received.wait()
        it.upstreams["a"] = replace(it.upstreams["a"], key="sk-upstream-new")
        reload(it, "a")
        may_answer.set()
        answer = await asked
        assert answer.status == 400
        assert b"bad key" in answer.body
        assert b"sk-upstream" not in answer.body


# ---- the end ---------------------------------------------------------------------------------------------------------


async def test_a_request_on_an_idle_connection_is_served_as_its_last_while_draining() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        first = await wire.ask(CHAT)
        assert "connection" not in first.headers
        drained = asyncio.ensure_future(it.gateway.drain(20))
        await asyncio.sleep(0)
        answer = await wire.ask(CHAT)
        assert_whole(answer, CHAT)
        assert answer.headers["connection"] == "close"
        assert await wire.is_closed()
        await drained


async def test_a_request_half_received_is_served_while_draining() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        data = post(CHAT)
        wire.send(data[:-5])
        await until(lambda: any(one.is_receiving for one in it.gateway._connections))
        drained = asyncio.ensure_future(it.gateway.drain(20))
        await asyncio.sleep(0.3)
        wire.send(data[-5:])
        assert_whole(await wire.answer(), CHAT)
        assert await wire.is_closed()
        await drained


# ---- sockets of several ----------------------------------------------------------------------------------------------


def open_shared(count: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for _ in range(count):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(sockets[0].getsockname() if sockets else ("127.0.0.1", 0))
        one.listen()
        one.setblocking(False)
        sockets.append(one)
    return sockets


class Greeter(asyncio.Protocol):
    def __init__(self, word: bytes) -> None:
        self._word = word

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's in all but name.
        connected = cast("asyncio.Transport", transport)
        connected.write(self._word)
        connected.close()


async def greet(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_what_waits_at_a_socket_nobody_serves_is_served_by_who_adopts_it() -> None:
    sockets = open_shared(2)
    listening = Listening(lambda: Greeter(b"hello"))
    await listening.take([one.dup() for one in sockets], 0)
    port = listening.port
    waiting = [asyncio.ensure_future(greet(port)) for _ in range(40)]
    await asyncio.sleep(0.2)
    left = [one for one in waiting if not one.done()]
    assert 0 < len(left) < 40, "the kernel spreads connections over both"

    await listening.adopt(1)
    await listening.adopt(1)
    assert await asyncio.gather(*waiting) == [b"hello"] * 40
    listening.hand_back(1)
    listening.hand_back(1)
    back = Listening(lambda: Greeter(b"back"))
    await back.take([one.dup() for one in sockets], 1)
    assert {await greet(port) for _ in range(40)} == {b"hello", b"back"}

    listening.close()
    back.close()
    await listening.adopt(1)
    assert not listening.is_open
    for one in sockets:
        one.close()
