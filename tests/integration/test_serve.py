"""A gateway's life in this process, from a configuration file to the last save."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import httpx
import pytest

from providerrank.apps import config, serve
from providerrank.apps.compose import read_windows
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec
from tests.configs import write_endpoint, write_file, write_gateway

QUESTION = {"model": "llama", "messages": [{"role": "user", "content": "Hello"}]}


def write(folder: Path, url: str, listen: str = "127.0.0.1:0", admin: str = "127.0.0.1:0") -> config.Loaded:
    tables = write_gateway(listen=listen, admin=admin), write_endpoint(url=url, price=(1, 1))
    return config.load(write_file(folder, *tables), {})


async def test_what_is_served_is_learned_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with SimProviders([EndpointSpec(name="alpha")]) as sims:
        loaded = write(tmp_path, sims["alpha"].url)
        with caplog.at_level(logging.INFO, "providerrank"):
            async with serve.opened(loaded) as service, httpx.AsyncClient() as client:
                answered = await client.post(f"{service.url}/v1/chat/completions", json=QUESTION)
                ready = await client.get(f"{service.admin_url}/ready")
                await service.drain()
                draining = await client.get(f"{service.admin_url}/ready")

    [(cell, window)] = await read_windows(loaded)
    assert (answered.status_code, ready.status_code, draining.status_code) == (200, 200, 503)
    assert (cell.endpoint_id, cell.task) == ("alpha/llama", "chat")
    assert window.requests > 0.9
    assert f"url={service.url} endpoints=1" in caplog.messages


@pytest.mark.parametrize("key", ["listen", "admin"])
async def test_a_taken_port_is_named_and_nothing_is_left_open(tmp_path: Path, key: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        loaded = write(tmp_path, "http://127.0.0.1:1/v1", **{key: address})

        with pytest.raises(serve.CannotListen, match=f"gateway.{key}: cannot listen on {address}"):
            async with serve.opened(loaded):
                pass


async def test_ipv6(tmp_path: Path) -> None:
    loaded = write(tmp_path, "http://127.0.0.1:1/v1", listen="[::1]:0", admin="[::1]:0")
    try:
        async with serve.opened(loaded) as service, httpx.AsyncClient() as client:
            health = await client.get(f"{service.url}/health")
            ready = await client.get(f"{service.admin_url}/ready")
    except serve.CannotListen:
        pytest.skip("this machine has no IPv6")

    assert service.url.startswith("http://[::1]:")
    assert (health.status_code, ready.status_code) == (200, 200)
