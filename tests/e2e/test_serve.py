"""The real command as a process, between clients and simulated endpoints: it starts, serves, drains, and comes back."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import httpx

from providerrank.sim.faults import Fault
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec, Ttft
from tests.e2e.served import CLIENT_KEY, QUESTION, SECRETS, UPSTREAM_KEY, WAIT_S, serving


async def test_it_answers_soon_and_ends_cleanly(tmp_path: Path) -> None:
    began = time.monotonic()
    async with (
        SimProviders([EndpointSpec(name="alpha")]) as sims,
        serving(tmp_path, sims["alpha"].url) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        answered = await served.ask(client)
        # Two seconds on a machine of its own.
        assert time.monotonic() - began < 15
        assert answered.status_code == 200
        assert (await client.get(f"{served.admin_url}/ready")).status_code == 200
        assert await served.end() == 0
        assert "Traceback" not in served.said


async def test_keys_stay_on_their_own_side(tmp_path: Path) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha", key=UPSTREAM_KEY)]) as sims,
        serving(tmp_path, sims["alpha"].url) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        refused = await client.post(f"{served.url}/v1/chat/completions", json=QUESTION)
        answered = await served.ask(client)
        received = sims["alpha"].log.last
        await sims["alpha"].switch(Fault.STATUS_401)
        failed = await served.ask(client)
        shown = [await client.get(f"{served.admin_url}{path}") for path in ("/", "/metrics", "/v1/rankings/llama")]
        await served.end()

    assert refused.status_code == 401
    assert answered.status_code == 200
    assert failed.status_code == 502
    assert CLIENT_KEY not in str(received.headers)
    seen = [refused.text, answered.text, str(answered.headers), failed.text, served.said, *(one.text for one in shown)]
    for secret in SECRETS:
        assert all(secret not in text for text in seen)
    assert all("xyzzy" not in text for text in (served.said, *(one.text for one in shown)))


async def test_metrics_show_what_happened(tmp_path: Path) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha")]) as sims,
        serving(tmp_path, sims["alpha"].url) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        sims["alpha"].script([Fault.STATUS_500])
        for _ in range(3):
            assert (await served.ask(client)).status_code == 200
        assert (await served.ask(client, model="unknown")).status_code == 404
        metrics = (await client.get(f"{served.admin_url}/metrics")).text
        await served.end()

    lines = [line for line in metrics.splitlines() if not line.startswith("#")]

    def value(*parts: str) -> float:
        [line] = [line for line in lines if all(part in line for part in parts)]
        return float(line.rpartition(" ")[2])

    assert value("attempts_total{", "alpha/llama", '"success"') == 3
    assert value("attempts_total{", "alpha/llama", '"failure"') == 1
    assert value("requests_total{", '"chat"', '"2xx"') == 3
    assert value("requests_total{", '"chat"', '"4xx"') == 1


async def test_a_restart_keeps_what_was_learned(tmp_path: Path) -> None:
    specs = [EndpointSpec(name="alpha", ttft=Ttft(median=0.2)), EndpointSpec(name="beta")]
    async with SimProviders(specs) as sims, httpx.AsyncClient(timeout=WAIT_S) as client:
        urls = [sims["alpha"].url, sims["beta"].url]
        async with serving(tmp_path, *urls) as served:
            for _ in range(10):
                assert (await served.ask(client, stream=True)).status_code == 200
            before = await served.rank(client)
            assert await served.end() == 0
        async with serving(tmp_path, *urls) as served:
            after = await served.rank(client)
            assert (await served.ask(client)).status_code == 200
            await served.end()

    assert sum(row["requests"] for row in before.values()) > 9
    assert list(after) == list(before), "the order is the same"
    for name, row in before.items():
        assert abs(after[name]["requests"] - row["requests"]) < 0.1
        # What is usual of the model is published when it has moved by a tenth (PRIOR_LOG_STEP), at a start at once: an
        # endpoint that was hardly measured may show that much.
        assert abs(after[name]["ttft_s"] - row["ttft_s"]) <= 0.12 * row["ttft_s"] + 0.001


async def test_a_gateway_that_was_killed_comes_back_with_what_was_saved(tmp_path: Path) -> None:
    async with SimProviders([EndpointSpec(name="alpha")]) as sims, httpx.AsyncClient(timeout=WAIT_S) as client:
        async with serving(tmp_path, sims["alpha"].url) as served:
            for _ in range(5):
                assert (await served.ask(client)).status_code == 200
            deadline = time.monotonic() + WAIT_S
            while await served.count_kept() < 4.9:
                assert time.monotonic() < deadline, "nothing was saved"
                await asyncio.sleep(0.2)
            assert await served.end(signal.SIGKILL) == -signal.SIGKILL
        async with serving(tmp_path, sims["alpha"].url) as served:
            assert (await served.rank(client))["alpha"]["requests"] > 4.9
            assert (await served.ask(client)).status_code == 200
            assert await served.end() == 0


async def test_sigterm_lets_what_is_under_way_finish(tmp_path: Path) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha", ttft=Ttft(median=1.0), tokens_per_s=30.0)]) as sims,
        serving(tmp_path, sims["alpha"].url) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        asked = asyncio.gather(served.ask(client), served.ask(client, stream=True))
        while sims["alpha"].log.in_flight < 2:
            await asyncio.sleep(0.01)

        served.process.send_signal(signal.SIGTERM)

        plain, streamed = await asked
        assert (plain.status_code, streamed.status_code) == (200, 200)
        assert streamed.text.endswith("data: [DONE]\n\n")
        assert await asyncio.wait_for(served.process.wait(), WAIT_S) == 0


async def test_a_second_signal_ends_the_wait(tmp_path: Path) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha", ttft=Ttft(median=60.0))]) as sims,
        serving(tmp_path, sims["alpha"].url) as served,
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        asked = asyncio.create_task(served.ask(client))
        while not len(sims["alpha"].log):
            await asyncio.sleep(0.01)

        served.process.send_signal(signal.SIGTERM)
        assert served.process.stderr is not None
        while b"stopping" not in await asyncio.wait_for(served.process.stderr.readline(), WAIT_S):
            pass
        served.process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(served.process.wait(), 10) == 1
        assert isinstance((await asyncio.gather(asked, return_exceptions=True))[0], httpx.HTTPError)
