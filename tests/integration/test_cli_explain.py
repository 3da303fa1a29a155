"""`providerrank explain` against an admin port over a real socket."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from providerrank.apps import config
from providerrank.apps.admin.app import build_admin
from providerrank.apps.admin.gate import Gate
from providerrank.apps.admin.server import AdminServer
from providerrank.apps.cli.commands import run
from providerrank.apps.cli.explain import fetch, show
from providerrank.rules.explain import explain
from providerrank.rules.explanation import Candidate, Explanation, ModelPart
from tests.configs import NOWHERE, write_endpoint, write_file, write_gateway
from tests.fake_admin import LLAMA, World, make_finished

KEY = "sk-of-this-gateway"


def write_config(folder: Path, port: int, host: str = "127.0.0.1") -> Path:
    gateway = write_gateway('keys = ["env:KEY"]', listen="127.0.0.1:1", admin=f"{host}:{port}")
    return write_file(folder, gateway, write_endpoint("a", model="m", url=NOWHERE))


@pytest.fixture
async def port() -> AsyncIterator[int]:
    world = World()
    assert world.ring is not None
    world.ring.keep(make_finished("a/b c"))
    # Bound to all addresses, so that a key is asked for.
    server = AdminServer(build_admin(world.get_sources(), Gate("0.0.0.0", (KEY,))), "127.0.0.1", 0)
    await server.start()
    yield server.address[1]
    await server.stop()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", KEY)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_request_is_fetched_with_the_gateways_key(port: int, tmp_path: Path, host: str) -> None:
    loaded = config.load(write_config(tmp_path, port, host))
    found = await asyncio.to_thread(fetch, loaded, "a/b c")
    assert found == explain(make_finished("a/b c"))


async def test_the_command_prints_it(port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write_config(tmp_path, port))
    assert await asyncio.to_thread(run, ["explain", "a/b c", "-c", path]) == 0
    text = capsys.readouterr().out
    assert text.startswith("a/b c  2023-")
    for part in ("Answered by ", "1. at 0.000 s  ", "2. at 0.100 s  ", "server error (HTTP 500)", LLAMA, "what became"):
        assert part in text
    assert await asyncio.to_thread(run, ["explain", "a/b c", "-c", path, "--json"]) == 0
    printed = msgspec.json.decode(capsys.readouterr().out, type=Explanation)
    assert printed.request_id == "a/b c"


async def test_a_forgotten_request_and_a_gateway_that_does_not_run(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_config(tmp_path, port))
    assert await asyncio.to_thread(run, ["explain", "nope", "-c", path]) == 1
    assert "No request 'nope' is remembered: the latest 100" in capsys.readouterr().err
    path = str(write_config(tmp_path, 9))
    assert await asyncio.to_thread(run, ["explain", "nope", "-c", path]) == 1
    error = capsys.readouterr().err
    assert error == (
        "providerrank: no gateway answers at http://127.0.0.1:9 (ConnectError): start it with `providerrank serve`, "
        "or name its configuration with -c.\n"
    )


async def test_what_answers_may_be_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops")
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(answers))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    path = str(write_config(tmp_path, server.sockets[0].getsockname()[1]))
    for said in ("is not a gateway of this version", "answered 500"):
        assert await asyncio.to_thread(run, ["explain", "x", "-c", path]) == 1
        assert said in capsys.readouterr().err
    server.close()


def print_out(explanation: Explanation) -> str:
    out = io.StringIO()
    show(explanation, Console(file=out, width=200))
    return out.getvalue()


def test_everything_there_is_to_say_is_said() -> None:
    explanation = explain(make_finished("r"))
    unseen = Candidate("far/m", None, "failed", "failed: server error [key]", (), None)
    text = print_out(
        replace(
            explanation,
            tier="high",
            session="s1",
            key="team-a",
            attempts_left_out=8,
            models=(
                ModelPart("m", False, "the model asked for", (unseen,), 7),
                ModelPart("n", True, "not tried", (), 0),
            ),
        )
    )
    for part in (
        "tier high",
        "session s1",
        "key team-a",
        "streamed",
        "8 more attempts",
        "7 more endpoints",
        "n: not tried",
    ):
        assert part in text
    assert "failed: server error [key]" in text, "square brackets are not markup"
    refused = print_out(replace(explanation, endpoint=None, attempts=(), models=(), stream=False, ttft_s=None))
    assert "tokens" not in refused
