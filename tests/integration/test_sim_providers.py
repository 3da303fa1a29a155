"""Endpoints together: switching, timelines, logs, TLS, and the process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
from pathlib import Path

import httpx
import pytest

from providerrank.sim.certificates import make_certificate
from providerrank.sim.connection import MAX_BODY_BYTES
from providerrank.sim.faults import Fault, Play
from providerrank.sim.faulty import TLS_GARBAGE
from providerrank.sim.listener import Listener, Mode
from providerrank.sim.providers import SimProviders
from providerrank.sim.received import KEPT_BODY_BYTES
from providerrank.sim.spec import EndpointSpec, Event, ListPrice, Ttft
from tests.integration.sim_wire import CHAT, STREAM, End, Wire, ask, request


async def test_each_endpoint_has_its_own_port_and_log() -> None:
    async with SimProviders([EndpointSpec(name="a"), EndpointSpec(name="b")]) as sims:
        await ask(sims["a"].port, CHAT)
        assert (sims["a"].log.requests, sims["b"].log.requests) == (1, 0)
        assert sims.urls == {name: f"http://127.0.0.1:{sims[name].port}/v1" for name in ("a", "b")}


async def test_the_log_holds_what_was_received() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims, Wire(sims["a"].port) as wire:
        await wire.send(request(CHAT, head="Authorization: Bearer k\r\nX-Thing: 1\r\n"))
        await wire.reply()
        await wire.ask(CHAT)
        first, second = sims["a"].log
        assert (first.method, first.path, first.json()) == ("POST", "/v1/chat/completions", CHAT)
        assert first.headers["authorization"] == "Bearer k"
        assert first.headers["x-thing"] == "1"
        assert (first.connection, first.nth, second.connection, second.nth) == (1, 1, 1, 2)
        assert first.answered_at_s is not None
        assert first.answered_at_s >= first.at_s
        assert not first.is_cancelled
        assert sims["a"].log.connections == 1


async def test_the_log_keeps_the_start_of_a_large_body_and_its_length() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 100_000}]}
    async with SimProviders([EndpointSpec(name="a")]) as sims:
        assert (await ask(sims["a"].port, body)).status == 200
        assert len(sims["a"].log.last.body) == KEPT_BODY_BYTES
        assert sims["a"].log.last.body_bytes > 100_000


async def test_the_log_says_when_a_client_left_in_the_middle() -> None:
    async with SimProviders([EndpointSpec(name="a", tokens_per_s=10)]) as sims:
        sim = sims["a"]
        async with Wire(sim.port) as wire:
            await wire.send(request(STREAM))
            await wire.read(None)
            assert sim.log.in_flight == 1
        await sim.idle()
        assert sim.log.last.is_cancelled
        assert sim.log.last.answered_at_s is None
        assert (sim.log.cancelled, sim.log.answered, sim.log.open_connections) == (1, 0, 0)


async def test_a_body_in_chunks_and_an_expectation_are_understood() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims, Wire(sims["a"].port) as wire:
        whole = request(CHAT, head="Expect: 100-continue\r\n")
        head, body = whole.split(b"\r\n\r\n", 1)
        await wire.send(head + b"\r\n\r\n")
        assert await wire.read(None) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(body)
        assert (await wire.reply()).status == 200
        chunked = b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
        for part in (body[:9], body[9:]):
            chunked += b"%x\r\n%b\r\n" % (len(part), part)
        await wire.send(chunked + b"0\r\n\r\n")
        assert (await wire.reply()).status == 200


async def test_what_is_not_http_is_refused() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims, Wire(sims["a"].port) as wire:
        await wire.send(b"HELO there\r\n\r\n")
        assert (await wire.reply()).status == 400
        assert await wire.read(None) in (End.EOF, End.RESET)


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims, Wire(sims["a"].port) as wire:
        sims["a"].script([Play(Fault.HUGE_BODY, size=20_000_000)])
        await wire.send(request(STREAM))
        await asyncio.sleep(0.05)  # The buffers between us are full by now, and the endpoint has to wait.
        assert sims["a"].log.in_flight == 1
        reply = await wire.reply()
        assert (reply.end, reply.finish) == (End.COMPLETE, "stop")
        assert len(reply.body) > 20_000_000


async def test_a_body_past_all_bounds_is_refused() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims, Wire(sims["a"].port) as wire:
        await wire.send(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
        for _ in range(MAX_BODY_BYTES // (1 << 20)):
            await wire.send(bytes(1 << 20))
        await wire.send(b"x")
        assert (await wire.reply()).status == 413
        assert sims["a"].log.requests == 0


async def test_the_last_of_several_switches_at_once_wins() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims:
        sim = sims["a"]
        await asyncio.gather(sim.down(), sim.up(), sim.down(), sim.up(), sim.down())
        with pytest.raises(ConnectionRefusedError):
            await ask(sim.port, CHAT)
        await asyncio.gather(sim.switch(Fault.CONNECT_HANG), sim.up(), sim.down(), sim.up())
        assert (await ask(sim.port, CHAT)).status == 200


async def test_a_port_closed_while_it_is_being_opened_stays_closed() -> None:
    listener = Listener()
    opening = asyncio.create_task(listener.open(asyncio.Protocol))
    await asyncio.sleep(0)
    assert not opening.done()
    listener.refuse()
    await opening
    assert listener.mode is Mode.REFUSING
    with pytest.raises(ConnectionRefusedError):
        await Wire(listener.port).connect()
    listener.close()


async def test_a_downed_endpoint_keeps_its_port_and_others_cannot_take_it() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims:
        port = sims["a"].port
        await sims["a"].down()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        for _ in range(3):  # Down and up again as often as one likes.
            await sims["a"].up()
            assert (await ask(port, CHAT)).status == 200
            await sims["a"].down()
            with pytest.raises(ConnectionRefusedError):
                await ask(port, CHAT)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.CONNECT_HANG])
async def test_a_listener_s_fault_ends_by_itself_when_its_time_is_over(fault: Fault) -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims:
        await sims["a"].switch(fault, for_s=0.4)
        with pytest.raises(ConnectionRefusedError if fault is Fault.REFUSED else TimeoutError):
            await Wire(sims["a"].port).connect(patience_s=0.05)
        await asyncio.sleep(0.4)
        assert (await statuses(sims["a"].port, 200))[-1] == 200


async def test_what_was_switched_later_outlives_what_was_switched_for_a_time() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims:
        await sims["a"].switch(Fault.REFUSED, for_s=0.02)
        await sims["a"].switch(Fault.REFUSED)
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            await ask(sims["a"].port, CHAT)


async def statuses(port: int, last: int | None) -> list[int | None]:
    """Ask until the status is ``last`` (None: refused); what came, repetitions left out."""
    seen: list[int | None] = []
    for _ in range(2_000):
        try:
            status = (await ask(port, CHAT)).status
        except ConnectionError:  # Refused, or reset between connecting and asking.
            status = None
        if seen[-1:] != [status]:
            seen.append(status)
        if status == last:
            break
        await asyncio.sleep(0.005)
    return seen


async def test_a_timeline_happens_in_its_order() -> None:
    timeline = (
        Event(at=0.1, do="status_502"),
        Event(at=0.3, do="status_504"),
        Event(at=0.2, do="status_503"),
        Event(at=0.4, do="down"),
    )
    async with SimProviders([EndpointSpec(name="a", timeline=timeline)]) as sims:
        seen = await statuses(sims["a"].port, None)
    # A busy machine may miss one between two looks; none comes out of turn, and the last stays.
    assert seen == [status for status in (200, 502, 503, 504, None) if status in seen]
    assert seen[-1] is None


async def test_what_a_timeline_does_for_a_time_ends() -> None:
    timeline = (Event(at=0.0, do="rate_limit", for_s=0.4), Event(at=0.0, do="set", success=0.0))
    async with SimProviders([EndpointSpec(name="a", timeline=timeline)]) as sims:
        assert (await statuses(sims["a"].port, 503))[-2:] == [429, 503]


async def test_values_set_for_a_time_come_back() -> None:
    timeline = (Event(at=0.0, do="set", success=0.0, price=ListPrice(input=9.0), for_s=0.3),)
    async with SimProviders([EndpointSpec(name="a", timeline=timeline)]) as sims:
        assert (await statuses(sims["a"].port, 503))[-1] == 503
        assert sims["a"].price.input == 9.0
        assert (await statuses(sims["a"].port, 200))[-1] == 200
        assert sims["a"].price.input == 0.0


async def test_a_timeline_brings_an_endpoint_up_again() -> None:
    timeline = (Event(at=0.0, do="down"), Event(at=0.1, do="up"))
    async with SimProviders([EndpointSpec(name="a", timeline=timeline)]) as sims:
        await asyncio.sleep(0.01)
        assert (await statuses(sims["a"].port, 200))[-1] == 200


async def test_the_clock_can_be_started_again() -> None:
    async with SimProviders([EndpointSpec(name="a", timeline=(Event(at=0.05, do="status_502"),))]) as sims:
        sim = sims["a"]
        for _ in range(2):
            assert (await statuses(sim.port, 502))[-1] == 502
            assert sims.now_s() > 0.045
            await sim.up()
            sims.restart_clock()


async def test_the_first_token_takes_the_time_it_was_given() -> None:
    loop = asyncio.get_running_loop()
    async with SimProviders([EndpointSpec(name="a", ttft=Ttft(median=0.1))]) as sims:
        started_s = loop.time()
        await ask(sims["a"].port, STREAM)
        assert loop.time() - started_s > 0.095  # Never early, but for the clock's own milliseconds.


def test_wrong_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="two endpoints are named 'a'"):
        SimProviders([EndpointSpec(name="a"), EndpointSpec(name="a")])
    with pytest.raises(ValueError, match="not there: b"):
        SimProviders([EndpointSpec(name="a")], behaviours={"b": object()})  # type: ignore[dict-item]  # never asked


# --- TLS -------------------------------------------------------------------------------------------------------------


async def test_tls_is_spoken_and_verified() -> None:
    certificate = make_certificate()
    async with SimProviders([EndpointSpec(name="a", tls=True)], tls=certificate.server) as sims:
        url = sims["a"].url
        assert url.startswith("https://localhost:")
        async with httpx.AsyncClient(verify=certificate.client) as client:
            for body in (CHAT, STREAM):
                assert (await client.post(f"{url}/chat/completions", json=body)).status_code == 200
        assert sims["a"].log.connections == 1
        async with httpx.AsyncClient() as client:  # Does not know the authority.
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(f"{url}/models")
        async with httpx.AsyncClient(verify=certificate.client) as client:
            sims["a"].script([Fault.CUT_ABORT])
            with pytest.raises(httpx.TransportError):
                await client.post(f"{url}/chat/completions", json=STREAM)


async def test_a_certificate_for_another_name_is_not_ours() -> None:
    certificate = make_certificate("provider.example")
    async with (
        SimProviders([EndpointSpec(name="a", tls=True)], tls=certificate.server) as sims,
        httpx.AsyncClient(verify=certificate.client) as client,
    ):
        with pytest.raises(httpx.ConnectError, match=r"doesn't match|mismatch"):
            await client.get(f"{sims['a'].url}/models")


async def test_garbage_instead_of_a_handshake() -> None:
    certificate = make_certificate()
    async with SimProviders([EndpointSpec(name="a", tls=True)], tls=certificate.server) as sims:
        await sims["a"].switch(Fault.TLS_GARBAGE)
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection("localhost", sims["a"].port, ssl=certificate.client)
        async with Wire(sims["a"].port) as wire:
            await wire.send(b"\x16")
            assert await wire.read(None) == TLS_GARBAGE
        await sims["a"].switch(None)
        async with httpx.AsyncClient(verify=certificate.client) as client:
            assert (await client.get(f"{sims['a'].url}/models")).status_code == 200


async def test_a_client_that_leaves_within_the_handshake_leaves_nothing_behind() -> None:
    certificate = make_certificate()
    async with SimProviders([EndpointSpec(name="a", tls=True)], tls=certificate.server) as sims:
        async with Wire(sims["a"].port) as wire:
            await wire.send(b"\x16\x03\x01")
        async with httpx.AsyncClient(verify=certificate.client) as client:
            assert (await client.get(f"{sims['a'].url}/models")).status_code == 200


# --- the process -----------------------------------------------------------------------------------------------------


async def run(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "providerrank.sim.provider",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


async def test_a_scenario_is_served_by_a_process(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text('[[endpoints]]\nname = "a"\n[[endpoints]]\nname = "b"\nfaults = { status_500 = 1.0 }\n')
    process = await run("--scenario", str(path))
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode() for _ in range(3)]
    assert lines[2] == "ready\n"
    ports = {name: int(url.split(":")[2].split("/")[0]) for name, url in (line.split("\t") for line in lines[:2])}
    assert (await ask(ports["a"], CHAT)).status == 200
    assert (await ask(ports["b"], CHAT)).status == 500
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


async def test_a_wrong_scenario_is_refused_with_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text('[[endpoints]]\nname = "a"\nspeed = 1\nport = "x"\n')
    process = await run("--scenario", str(path))
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.decode().count(f"{path}: endpoints[0] (a).") == 2


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        path = tmp_path / "scenario.toml"
        path.write_text(f'[[endpoints]]\nname = "a"\nport = {port}\n')
        process = await run("--scenario", str(path))
        _, errors = await process.communicate()
        assert (process.returncode, errors.decode()) == (1, f"[Errno 98] port {port} is in use\n")


async def test_the_faults_are_listed() -> None:
    process = await run("--faults")
    output, _ = await process.communicate()
    assert [line.split()[0] for line in output.decode().splitlines()] == [fault.value for fault in Fault]
