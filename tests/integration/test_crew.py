"""Workers that cannot begin, accounts that several of them charge, and probes that one of them makes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from providerrank.apps import config, serve
from providerrank.apps.failures import CommandFailed
from providerrank.apps.workers import crew
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec
from tests.configs import write_endpoint, write_file, write_gateway

QUESTION = {"model": "llama", "messages": [{"role": "user", "content": "Hello"}]}
KEY = """
[[keys]]
name = "team"
key = "env:TEAM_KEY"
requests_per_minute = 5
"""


def write(folder: Path, url: str, more: str = "", price: int = 1) -> config.Loaded:
    tables = write_gateway("workers = 2", more), write_endpoint(url=url, price=(price, price))
    return config.load(write_file(folder, *tables), {"TEAM_KEY": "sk-team"})


async def test_workers_that_cannot_begin_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = write(tmp_path, "http://127.0.0.1:1/v1")
    for program in ("/bin/false", "/nowhere/at/all"):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(CommandFailed, match=r"gateway\.workers: they end before they can serve"):
            async with serve.opened(loaded):
                pass


async def test_an_account_is_charged_by_all_and_may_come_with_a_reload(tmp_path: Path) -> None:
    async with SimProviders([EndpointSpec(name="alpha")]) as sims:
        loaded = write(tmp_path, sims["alpha"].url)
        async with serve.opened(loaded) as service:
            write(tmp_path, sims["alpha"].url, KEY)
            await service.reload()
            statuses: list[int] = []
            for _ in range(12):
                async with httpx.AsyncClient(headers={"Authorization": "Bearer sk-team"}, verify=False) as client:
                    statuses.append(
                        (await client.post(f"{service.url}/v1/chat/completions", json=QUESTION)).status_code
                    )
            async with httpx.AsyncClient(verify=False) as client:
                unknown = await client.post(f"{service.url}/v1/chat/completions", json=QUESTION)
                [row] = (await client.get(f"{service.admin_url}/v1/usage")).json()["keys"]
            await service.plane.refresh()
            refused = statuses.count(429)
            counted = service.plane.stats.keys["team"].requests

    # A minute may begin in between.
    assert statuses[:5] == [200] * 5
    assert 2 <= refused <= 7
    assert statuses.count(200) + refused == 12
    assert unknown.status_code == 401
    assert row["requests_today"] == 12 - refused
    assert counted["2xx"] == 12 - refused
    assert service.plane.stats.reloads == {"ok": 1}


async def test_one_worker_probes_and_another_when_it_is_gone(tmp_path: Path) -> None:
    async with SimProviders([EndpointSpec(name="alpha")]) as sims:
        loaded = write(tmp_path, sims["alpha"].url, "[probes]\ninterval = 1\n", price=0)

        def get_probers() -> list[str]:
            return [str(one.headers.get("x-request-id")).rpartition("-")[0] for one in sims["alpha"].log]

        async with serve.opened(loaded) as service, asyncio.timeout(60):
            assert isinstance(service.plane, crew.Crew)
            while len(get_probers()) < 3:
                await asyncio.sleep(0.05)
            [first] = set(get_probers())
            assert first.startswith("probe-")
            assert service.plane.prober in service.plane.workers
            os.kill(service.plane.prober, signal.SIGKILL)
            while set(get_probers()) == {first}:
                await asyncio.sleep(0.05)
            await service.plane.refresh()
            assert service.plane.stats.attempts == {}
            assert service.plane.stats.probes["alpha/llama", "success"] >= 1
            # What one has learned all know, and the admin port shows.
            [row] = service.router.ranking("llama", service.plane.now_us()).rows
            assert row.requests > 1.5


async def test_one_that_is_ended_while_it_begins_leaves_nothing(tmp_path: Path) -> None:
    loaded = write(tmp_path, "http://127.0.0.1:1/v1")
    before = asyncio.all_tasks()
    async with serve.opened(loaded) as service:
        assert isinstance(service.plane, crew.Crew)
        # The second worker may still be on its way.
        pids = [member.process.pid for member in service.plane._members.values()]
        assert pids
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()
    assert asyncio.all_tasks() == before
