"""Several workers as processes: one is killed, others learn, the configuration changes, and clients notice nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from providerrank.sim.faults import Fault, Play
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec, Ttft
from tests.e2e.served import CLIENT_KEY, QUESTION, WAIT_S, Served, serving

HEADERS = {"Authorization": f"Bearer {CLIENT_KEY}"}
BOTH = pytest.mark.parametrize("workers", [1, 2])


class Load:
    """Clients that ask one question after another on connections of their own."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._stop = False
        self.answered = 0
        self.failures: list[str] = []

    async def ask(self, number: int) -> None:
        """Ask until stopped; half of it streamed, every fourth on a new connection."""
        client = httpx.AsyncClient(timeout=WAIT_S, headers=HEADERS, verify=False)
        try:
            for at in range(1_000_000):
                if self._stop:
                    return
                if at % 4 == 3:
                    await client.aclose()
                    client = httpx.AsyncClient(timeout=WAIT_S, headers=HEADERS, verify=False)
                stream = (at + number) % 2 == 0
                try:
                    reply = await client.post(self._url, json={**QUESTION, "stream": stream})
                except httpx.HTTPError as error:
                    self.failures.append(type(error).__name__)
                    continue
                if reply.status_code != 200 or (stream and not reply.text.endswith("data: [DONE]\n\n")):
                    self.failures.append(f"{reply.status_code} {reply.text}")
                self.answered += 1
        finally:
            await client.aclose()

    @asynccontextmanager
    async def running(self, clients: int) -> AsyncIterator[Load]:
        asking = [asyncio.create_task(self.ask(number)) for number in range(clients)]
        try:
            yield self
        finally:
            self._stop = True
            await asyncio.gather(*asking)


async def get_workers(served: Served) -> list[int]:
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
    return [int(pid) for pid in children]


async def get_total(client: httpx.AsyncClient, served: Served, name: str, label: str = "") -> float:
    text = (await client.get(f"{served.admin_url}/metrics")).text
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(f"providerrank_{name}") and label in line
    )


async def wait_for_workers(served: Served, client: httpx.AsyncClient, count: int) -> None:
    """Until all of them accept: no socket is one's that is not there."""
    deadline = time.monotonic() + WAIT_S
    seen: set[str] = set()
    while len(seen) < count:
        assert time.monotonic() < deadline
        async with httpx.AsyncClient(verify=False) as one:
            await served.ask(one)
        latest = (await client.get(f"{served.admin_url}/v1/explain")).json()
        # Each process numbers its requests under a prefix of its own.
        seen = {brief["request_id"].rpartition("-")[0] for brief in latest}


async def test_a_killed_worker_takes_only_what_it_was_serving(tmp_path: Path) -> None:
    specs = [EndpointSpec(name="alpha", ttft=Ttft(median=0.02), tokens_per_s=400.0), EndpointSpec(name="beta")]
    clients = 12
    async with (
        SimProviders(specs) as sims,
        serving(tmp_path, sims["alpha"].url, sims["beta"].url, workers=2) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        await wait_for_workers(served, client, 2)
        totals: list[float] = []
        async with Load(served.url).running(clients) as load:
            for _ in range(2):
                await asyncio.sleep(0.5)
                before = await get_total(client, served, "requests_total")
                failed = len(load.failures)
                [victim, *_] = await get_workers(served)
                os.kill(victim, signal.SIGKILL)
                for _ in range(6):
                    totals.append(await get_total(client, served, "requests_total"))
                    await asyncio.sleep(0.1)
                # What it was serving was closed at once, each request once; nobody was refused, nothing hung.
                assert len(load.failures) - failed <= clients
                assert set(load.failures) <= {"RemoteProtocolError", "ReadError"}, load.failures
                assert totals[-1] > before
                deadline = time.monotonic() + WAIT_S
                while len(await get_workers(served)) < 2 or victim in await get_workers(served):
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
            quiet = len(load.failures)
            answered = load.answered
            await asyncio.sleep(0.5)
            assert len(load.failures) == quiet
            assert load.answered > answered
        assert totals == sorted(totals), "counters never go back"
        assert load.answered > 100
        assert (await client.get(f"{served.admin_url}/ready")).status_code == 200
        assert await get_total(client, served, "attempts_in_flight") == 0
        assert await served.end() == 0
        assert "Traceback" not in served.said


async def test_what_one_is_told_to_leave_alone_the_others_leave_alone(tmp_path: Path) -> None:
    specs = [EndpointSpec(name="alpha"), EndpointSpec(name="beta")]
    async with (
        SimProviders(specs) as sims,
        serving(tmp_path, sims["alpha"].url, sims["beta"].url, workers=2, pin=True) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        await wait_for_workers(served, client, 2)
        await sims["alpha"].switch(Play(Fault.RATE_LIMIT, seconds=30))
        answered = await served.ask(client)
        assert answered.headers["x-providerrank-endpoint"] == "beta/llama"
        asked = len(sims["alpha"].log)
        # A few milliseconds is all it takes; a test's machine may be busy.
        await asyncio.sleep(0.3)

        for _ in range(30):
            async with httpx.AsyncClient(verify=False) as one:
                assert (await served.ask(one)).headers["x-providerrank-attempts"] == "1"
        assert len(sims["alpha"].log) == asked
        # Nor does one that begins only now.
        [victim, *_] = await get_workers(served)
        os.kill(victim, signal.SIGKILL)
        await asyncio.sleep(2)
        for _ in range(30):
            async with httpx.AsyncClient(verify=False) as one:
                assert (await served.ask(one)).status_code == 200
        assert len(sims["alpha"].log) == asked
        assert (await served.rank(client))["alpha"]["state"] == "cooling"
        await served.end()


@BOTH
async def test_a_hundred_reloads_drop_nothing(tmp_path: Path, workers: int) -> None:
    specs = [EndpointSpec(name="alpha", tokens_per_s=2000.0), EndpointSpec(name="beta")]
    async with (
        SimProviders(specs) as sims,
        serving(tmp_path, sims["alpha"].url, sims["beta"].url, workers=workers) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        path = tmp_path / "providerrank.toml"
        written = path.read_text()
        first, second = written[: written.rindex("[[endpoints]]")], written.replace("input = 1", "input = 2")
        async with Load(served.url).running(6) as load:
            for number in range(100):
                path.write_text([first, second, written][number % 3])
                reply = await client.post(f"{served.admin_url}/v1/reload")
                assert reply.status_code == 200, reply.text
        assert load.failures == []
        assert load.answered > 30
        assert len(await served.rank(client)) == 1
        assert await get_total(client, served, "attempts_in_flight") == 0
        assert await served.end() == 0
        assert "Traceback" not in served.said


@BOTH
async def test_a_reload_takes_effect_for_what_begins(tmp_path: Path, workers: int) -> None:
    slow = EndpointSpec(name="alpha", ttft=Ttft(median=0.1), tokens_per_s=30.0)
    async with (
        SimProviders([slow, EndpointSpec(name="beta")]) as sims,
        serving(tmp_path, sims["alpha"].url, workers=workers) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        asked = asyncio.create_task(served.ask(client, stream=True))
        while not sims["alpha"].log.in_flight:
            await asyncio.sleep(0.01)
        path = tmp_path / "providerrank.toml"
        path.write_text(path.read_text().replace("alpha/", "beta/").replace(sims["alpha"].url, sims["beta"].url))

        served.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + WAIT_S
        while "beta" not in await served.rank(client):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        answered = await served.ask(client)
        began_before = await asked

        assert answered.headers["x-providerrank-endpoint"] == "beta/llama"
        assert began_before.headers["x-providerrank-endpoint"] == "alpha/llama"
        assert began_before.text.endswith("data: [DONE]\n\n")
        # Its counters stay, under their labels.
        assert await get_total(client, served, "attempts_total", 'endpoint="alpha/llama",model="llama"') == 1
        # And what was learned comes back with it.
        path.write_text(path.read_text().replace("beta/", "alpha/").replace(sims["beta"].url, sims["alpha"].url))
        assert (await client.post(f"{served.admin_url}/v1/reload")).json()["added"] == ["alpha/llama"]
        assert (await served.rank(client))["alpha"]["requests"] > 0.9
        await served.end()


@BOTH
async def test_a_refused_reload_changes_nothing_and_says_why(tmp_path: Path, workers: int) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha")]) as sims,
        serving(tmp_path, sims["alpha"].url, workers=workers) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        path = tmp_path / "providerrank.toml"
        good = path.read_text()
        path.write_text(good.replace("input = 1", "input = -1").replace("model =", "modle ="))
        refused = await client.post(f"{served.admin_url}/v1/reload")
        path.write_text(good.replace(f"workers = {workers}", "workers = 5").replace('admin = "127.0.0.1:0"', ""))
        fixed = await client.post(f"{served.admin_url}/v1/reload")
        crossed = await client.post(f"{served.admin_url}/v1/reload", headers={"Origin": "http://example.com"})
        got = await client.get(f"{served.admin_url}/v1/reload")
        assert (await served.ask(client)).status_code == 200
        await served.end()

    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (422, "config_refused")
    assert len(error["mistakes"]) == 3
    assert any(re.search(r"toml:\d+: endpoints\[0\]\.modle is not a known key", line) for line in error["mistakes"])
    assert fixed.json()["needs_restart"] == ["gateway.admin", "gateway.workers"]
    assert (crossed.status_code, got.status_code) == (403, 405)
    assert "reload refused" in served.said
    assert CLIENT_KEY not in served.said


async def test_workers_finish_what_is_under_way_before_they_leave(tmp_path: Path) -> None:
    spec = EndpointSpec(name="alpha", ttft=Ttft(median=0.8), tokens_per_s=30.0)
    async with (
        SimProviders([spec]) as sims,
        httpx.AsyncClient(timeout=WAIT_S) as client,
        serving(tmp_path, sims["alpha"].url, workers=2) as served,
    ):
        asked = asyncio.gather(*(served.ask(client, stream=bool(number % 2)) for number in range(6)))
        while sims["alpha"].log.in_flight < 6:
            await asyncio.sleep(0.01)
        served.process.send_signal(signal.SIGTERM)
        for answer in await asked:
            assert answer.status_code == 200
            assert answer.headers.get("connection") == "close"
        assert await asyncio.wait_for(served.process.wait(), WAIT_S) == 0
        assert await served.count_kept() > 5.9, "what was learned last is saved"


async def test_workers_do_not_outlive_who_began_them(tmp_path: Path) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha")]) as sims,
        httpx.AsyncClient(timeout=WAIT_S) as client,
        serving(tmp_path, sims["alpha"].url, workers=2) as served,
    ):
        await wait_for_workers(served, client, 2)
        workers = await get_workers(served)
        assert await served.end(signal.SIGKILL) == -signal.SIGKILL
        deadline = time.monotonic() + WAIT_S
        while any(
            Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers
        ):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_a_second_gateway_cannot_slip_in_at_the_same_address(tmp_path: Path) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha")]) as sims,
        serving(tmp_path, sims["alpha"].url, workers=2) as served,
    ):
        other = tmp_path / "other"
        other.mkdir()
        port = served.url.rpartition(":")[2]
        with pytest.raises(AssertionError, match=r"gateway\.listen: cannot listen on"):
            async with serving(other, sims["alpha"].url, workers=2, port=int(port)):
                pass
        await served.end()
