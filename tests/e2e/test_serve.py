"""The gateway as a process, between a client and simulated endpoints."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec, Ttft

PROGRAM = Path(sys.executable).parent / "providerrank"
WAIT_S = 30.0
CLIENT_KEY = "sk-client-5e1d"
UPSTREAM_KEY = "sk-upstream-9b2c"
QUESTION = {"model": "llama", "messages": [{"role": "user", "content": "Hello"}]}


@asynccontextmanager
async def serving(folder: Path, url: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A gateway in front of one endpoint: its address and its process."""
    (folder / "providerrank.toml").write_text(f"""
[gateway]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
keys = ["env:CLIENT_KEY"]

[[endpoints]]
id = "alpha/llama"
model = "llama"
base_url = "{url}"
key = "env:UPSTREAM_KEY"
price = {{ input = 1, output = 1 }}
""")
    environ = {"PATH": os.environ["PATH"], "CLIENT_KEY": CLIENT_KEY, "UPSTREAM_KEY": UPSTREAM_KEY}
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "serve", cwd=folder, env=environ, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        found = ""
        while "admin=" not in found:
            line = (await process.stderr.readline()).decode()
            assert line, "the gateway ended"
            found += line
        yield found.partition("url=")[2].split()[0], process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ask(client: httpx.AsyncClient, url: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
    return await client.post(f"{url}/v1/chat/completions", json=QUESTION, headers=headers)


async def test_keys_stay_on_their_own_side(tmp_path: Path) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha", key=UPSTREAM_KEY)]) as sims,
        serving(tmp_path, sims["alpha"].url) as (url, process),
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        refused = await client.post(f"{url}/v1/chat/completions", json=QUESTION)
        answered = await ask(client, url)
        received = sims["alpha"].log.last
        process.send_signal(signal.SIGTERM)
        _, log = await process.communicate()

    assert refused.status_code == 401
    assert answered.status_code == 200
    assert CLIENT_KEY not in str(received.headers)
    for key in (CLIENT_KEY, UPSTREAM_KEY):
        assert key not in refused.text + answered.text + str(answered.headers) + log.decode()


async def test_sigterm_lets_a_request_under_way_finish(tmp_path: Path) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha", ttft=Ttft(median=1.0))]) as sims,
        serving(tmp_path, sims["alpha"].url) as (url, process),
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        asked = asyncio.create_task(ask(client, url))
        while not len(sims["alpha"].log):
            await asyncio.sleep(0.01)

        process.send_signal(signal.SIGTERM)

        assert (await asked).status_code == 200
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0


async def test_a_second_signal_ends_the_wait(tmp_path: Path) -> None:
    async with (
        SimProviders([EndpointSpec(name="alpha", ttft=Ttft(median=60.0))]) as sims,
        serving(tmp_path, sims["alpha"].url) as (url, process),
        httpx.AsyncClient(timeout=WAIT_S) as client,
    ):
        asked = asyncio.create_task(ask(client, url))
        while not len(sims["alpha"].log):
            await asyncio.sleep(0.01)

        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while b"stopping" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.wait(), 10) == 1
        assert isinstance((await asyncio.gather(asked, return_exceptions=True))[0], httpx.HTTPError)
