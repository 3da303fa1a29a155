"""The demo as its command: it breaks every endpoint in turn, and its client sees only answers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx

DEMO = [str(Path(sys.executable).with_name("providerrank")), "demo", "--simulated"]
SHORT = ["--seconds", "15", "--json", "--no-market"]
MARKET = ["--seconds", "4", "--json", "--epochs", "2", "--epoch-seconds", "15"]


def test_a_bounded_show_ends_well_and_adds_up() -> None:
    done = subprocess.run([*DEMO, *SHORT], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["client_visible_failures"] == 0, summary["failures"]
    assert summary["real_model"] is False
    assert summary["attempts"] >= summary["requests"] > summary["streamed"] > 0
    assert summary["fallbacks"] > 0
    assert 0 < summary["cost_cheapest_usd"] <= summary["cost_usd"] <= summary["cost_dearest_usd"]
    assert 0 < summary["ttft_p50_ms"] <= summary["ttft_p95_ms"]
    told = "\n".join(summary["events"])
    for mishap in ("is killed", "answers 429", "cuts every answer", "answers 500"):
        assert mishap in told
    assert told.count("is well again") == 4
    assert "Simulated endpoints, as asked" in done.stderr


def test_the_market_catches_the_liar_and_the_ranking_cites_what_it_verified() -> None:
    done = subprocess.run([*DEMO, *MARKET], capture_output=True, text=True, timeout=110, check=False)
    market = json.loads(done.stdout)["market"]
    assert done.returncode == 0, done.stderr
    assert market["caught_in_epoch"] is not None
    for epoch in market["epochs"][market["caught_in_epoch"] :]:
        assert epoch["emission"][market["liar"]] == 0
        assert all(
            set(codes) <= {"passed", "uncovered"} for name, codes in epoch["verdicts"].items() if name != market["liar"]
        )
    assert set(market["evidence"]) <= {"swift", "steady", "thrifty", "frugal"}
    assert all("replays by" in words for words in market["evidence"].values())


async def test_interrupted_early_it_still_adds_up_and_leaves_nothing_running() -> None:
    demo = await asyncio.create_subprocess_exec(
        *DEMO, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert demo.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(60):
        while not lines or "requests " not in lines[-1]:
            lines.append((await demo.stdout.readline()).decode())
            assert lines[-1], "it ended before the show began"
        gateway = next(line.split()[1] for line in lines if line.startswith("Gateway: "))
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{gateway}/models")).json()["data"][0]["id"] == "smollm2-135m"
        demo.send_signal(signal.SIGINT)
        out, err = await demo.communicate()
    assert "Summary of" in out.decode()
    assert demo.returncode == 0, err.decode()
