"""The real command as a process, in front of simulated endpoints: a helper for the tests of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from providerrank.apps import config
from providerrank.apps.compose import read_windows

PROGRAM = Path(sys.executable).parent / "providerrank"
WAIT_S = 30.0
CLIENT_KEY = "sk-client-5e1d"
UPSTREAM_KEY = "sk-upstream-9b2c"
SECRETS = (CLIENT_KEY, UPSTREAM_KEY)
QUESTION = {"model": "llama", "messages": [{"role": "user", "content": "Hello, my secret is xyzzy-42"}]}
ENVIRON = {"CLIENT_KEY": CLIENT_KEY, "UPSTREAM_KEY": UPSTREAM_KEY}


class Served:
    """A running gateway."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process
        self.url = ""
        self.admin_url = ""
        self.said = ""
        """Everything it wrote, once it has ended."""

    async def ask(self, client: httpx.AsyncClient, **fields: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
        return await client.post(f"{self.url}/v1/chat/completions", json={**QUESTION, **fields}, headers=headers)

    async def rank(self, client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
        """The ranking as the admin port tells it, by provider."""
        reply = await client.get(f"{self.admin_url}/v1/rankings/llama")
        assert reply.status_code == 200, reply.text
        return {row["provider"]: row for row in reply.json()["endpoints"]}

    async def count_kept(self) -> float:
        """Requests in the store, from outside."""
        windows = await read_windows(config.load(self.folder / "providerrank.toml", ENVIRON))
        return sum(window.requests for _, window in windows)

    async def end(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signum)
        written = await asyncio.wait_for(self.process.communicate(), WAIT_S)
        self.said += "".join(part.decode() for part in written if part)
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def serving(
    folder: Path, *urls: str, workers: int = 1, pin: bool = False, port: int = 0
) -> AsyncIterator[Served]:
    """A gateway in front of endpoints alpha, beta, ...; ``pin``: tried in this order."""
    endpoints = "".join(
        f"""
[[endpoints]]
id = "{name}/llama"
model = "llama"
base_url = "{url}"
key = "env:UPSTREAM_KEY"
price = {{ input = 1, output = 1 }}
"""
        for name, url in zip(("alpha", "beta"), urls, strict=False)
    )
    pins = [f"{name}/llama" for name, _ in zip(("alpha", "beta"), urls, strict=False)]
    rules = f'\n[[models]]\nid = "llama"\npin = {pins}\n' if pin else ""
    (folder / "providerrank.toml").write_text(f"""
[gateway]
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:0"
workers = {workers}
keys = ["env:CLIENT_KEY"]
{endpoints}{rules}""")
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "serve",
        "-c",
        folder / "providerrank.toml",
        cwd=folder,
        env={**{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}, **ENVIRON},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    served = Served(folder, process)
    assert process.stderr is not None
    try:
        while "admin=" not in served.said:
            line = (await asyncio.wait_for(process.stderr.readline(), WAIT_S)).decode()
            assert line, f"the gateway ended: {served.said}"
            served.said += line
        served.url = served.said.partition("url=")[2].split()[0]
        served.admin_url = served.said.partition("admin=")[2].split()[0]
        yield served
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
