"""The real command: exit codes, what goes where, and that nobody meets a traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

PROGRAM = Path(sys.executable).parent / "providerrank"
WAIT_S = 30.0
"""For something that takes a second on a machine with nothing else to do."""

CONFIG = """
[gateway]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"

[[endpoints]]
id = "alpha/llama"
model = "llama"
base_url = "http://127.0.0.1:1/v1"
price = { input = 0.5, output = 1.5 }

[[endpoints]]
id = "beta/llama"
model = "llama"
base_url = "http://127.0.0.1:1/v1"
price = { input = 0.1, output = 0.2 }

[[models]]
id = "llama"
aliases = ["default"]
"""


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PROGRAM, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **environ},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=WAIT_S,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "providerrank.toml").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize("command", ["init", "check", "serve", "demo", "rank", "doctor"])
def test_every_command_has_help_with_an_example(command: str, tmp_path: Path) -> None:
    done = run(command, "--help", cwd=tmp_path)

    assert done.returncode == 0
    assert "For example:" in done.stdout
    assert f"$ providerrank {command}" in done.stdout


def test_the_help_lists_every_command(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)

    assert done.returncode == 0
    for command in ("init", "check", "serve", "demo", "rank", "doctor"):
        assert f" {command} " in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [(), ("fly",), ("rank",), ("check", "--loudly"), ("serve", "--port", "3"), ("doctor", "--timeout", "-1")],
)
def test_a_command_line_that_makes_no_sense_exits_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert run(*arguments, cwd=tmp_path).returncode == 2


def test_the_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout.strip() == "0.1.0"


def test_init_then_check(tmp_path: Path) -> None:
    options = [
        "--provider",
        "groq",
        "--model",
        "llama",
        "--base-url",
        "https://api.example.com/v1",
        "--key-env",
        "GROQ_KEY",
    ]
    prices = ["--input-price", "0.59", "--output-price", "0.79"]

    first = run("init", *options, *prices, cwd=tmp_path)
    assert first.returncode == 0
    assert "export GROQ_KEY=…" in first.stdout

    again = run("init", *options, *prices, cwd=tmp_path)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert run("init", *options, *prices, "--force", cwd=tmp_path).returncode == 0

    assert run("check", cwd=tmp_path).returncode == 1
    checked = run("check", cwd=tmp_path, GROQ_KEY="k")
    assert checked.returncode == 0
    assert checked.stdout == "providerrank.toml: no mistakes (1 endpoint of 1 model).\n"


def test_init_with_nobody_to_ask_names_what_it_needs(tmp_path: Path) -> None:
    done = run("init", "--provider", "groq", cwd=tmp_path)

    assert done.returncode == 2
    assert "--model, --base-url, --input-price, --output-price must be given" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_named_by_option_or_variable(folder: Path) -> None:
    (folder / "providerrank.toml").rename(folder / "other.toml")

    assert run("check", cwd=folder).returncode == 1
    assert run("check", "-c", "other.toml", cwd=folder).returncode == 0
    assert run("check", "--config", "other.toml", cwd=folder).returncode == 0
    assert run("check", cwd=folder, PROVIDERRANK_CONFIG="other.toml").returncode == 0


def test_check_as_json(folder: Path) -> None:
    (folder / "bad.toml").write_text(CONFIG.replace("0.5", "-0.5"))

    good = run("check", "--json", cwd=folder)
    bad = run("check", "--json", "-c", "bad.toml", cwd=folder)

    assert good.returncode == 0
    assert json.loads(good.stdout)["ok"] is True
    assert bad.returncode == 1
    [mistake] = json.loads(bad.stdout)["mistakes"]
    assert mistake["line"] == 10
    assert mistake["place"] == "endpoints[0].price.input"


def test_rank_shows_the_order_and_why(folder: Path) -> None:
    table = run("rank", "default", cwd=folder)
    found = json.loads(run("rank", "llama", "--json", cwd=folder).stdout)

    assert table.returncode == 0
    assert table.stdout.index("beta/llama") < table.stdout.index("alpha/llama")
    assert [row["endpoint"] for row in found["endpoints"]] == ["beta/llama", "alpha/llama"]
    assert [path.name for path in folder.iterdir()] == ["providerrank.toml"]


def test_rank_of_an_unknown_model_names_the_known_ones(folder: Path) -> None:
    done = run("rank", "lama", cwd=folder)

    assert done.returncode == 1
    assert done.stderr == "providerrank: Unknown model 'lama'; known: llama.\n"


def test_doctor_exits_1_when_an_endpoint_cannot_be_used(folder: Path) -> None:
    done = run("doctor", cwd=folder)

    assert done.returncode == 1
    assert "the connection is refused" in done.stdout
    assert "0 of 2 endpoints can be used." in done.stdout


def test_serve_refuses_a_configuration_with_mistakes(folder: Path) -> None:
    (folder / "bad.toml").write_text(CONFIG.replace("0.5", "-0.5").replace("http:", "ftp:"))

    done = run("serve", "-c", "bad.toml", cwd=folder)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3


def test_serve_says_which_port_is_taken(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for key in ("listen", "admin"):
            (folder / "taken.toml").write_text(CONFIG.replace(f'{key} = "127.0.0.1:0"', f'{key} = "127.0.0.1:{port}"'))

            done = run("serve", "-c", "taken.toml", cwd=folder)

            assert done.returncode == 1
            assert f"gateway.{key}: cannot listen on 127.0.0.1:{port} (address already in use)" in done.stderr


def test_a_store_that_cannot_be_opened_stops_the_start(folder: Path) -> None:
    (folder / "store.toml").write_text(CONFIG + '[engines]\nstore = "sqlite:///no/such/folder/x.db"\n')

    done = run("serve", "-c", "store.toml", cwd=folder)

    assert done.returncode == 1
    assert "x.db cannot be used" in done.stderr


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """A running gateway: its two addresses and its process."""
    process = subprocess.Popen(
        [PROGRAM, "serve", *options],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    try:
        found: dict[str, str] = {}
        while len(found) < 2:
            line = process.stderr.readline()
            assert line, "the gateway ended"
            for word in line.split():
                key, equals, value = word.partition("=")
                if equals and key in {"url", "admin"}:
                    found[key] = value
        yield found["url"], found["admin"], process
    finally:
        process.kill()
        process.communicate()


def ask(url: str) -> httpx.Response:
    body = {"model": "llama", "messages": [{"role": "user", "content": "Hello"}]}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=WAIT_S)


@pytest.mark.parametrize("options", [(), ("-c", "providerrank.toml"), ("--config=providerrank.toml",)])
def test_serve_serves_both_ports_and_ends_on_sigterm(folder: Path, options: tuple[str, ...]) -> None:
    with serving(folder, *options) as (url, admin, process):
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "llama"
        assert httpx.get(f"{admin}/ready").status_code == 200
        assert "providerrank" in httpx.get(f"{admin}/metrics").text

        process.send_signal(signal.SIGTERM)

        assert process.wait(WAIT_S) == 0


def test_what_was_learned_survives_a_restart(folder: Path) -> None:
    with serving(folder) as (url, _, process):
        assert ask(url).status_code >= 500
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0

    learned = json.loads(run("rank", "llama", "--json", cwd=folder).stdout)
    with serving(folder) as (_, admin, _process):
        restarted = httpx.get(f"{admin}/v1/rankings/llama").json()

    for ranking in (learned, restarted):
        assert all(row["requests"] > 0.5 for row in ranking["endpoints"])


def test_a_crash_forgets_no_more_than_a_few_seconds(folder: Path) -> None:
    with serving(folder) as (url, _, process):
        ask(url)
        until_s = time.monotonic() + WAIT_S
        while time.monotonic() < until_s:
            rows = json.loads(run("rank", "llama", "--json", cwd=folder).stdout)["endpoints"]
            if all(row["requests"] > 0.5 for row in rows):
                break
        process.kill()

    rows = json.loads(run("rank", "llama", "--json", cwd=folder).stdout)["endpoints"]
    assert all(row["requests"] > 0.5 for row in rows)


def test_a_gateway_at_rest_loads_nothing_it_does_not_need(folder: Path) -> None:
    with serving(folder, "-c", "providerrank.toml") as (_, _, process):
        loaded = Path(f"/proc/{process.pid}/maps").read_text()

    for library in ("numpy", "pydantic_core", "xllamacpp", "jiter"):
        assert library not in loaded
