"""Load for a long time, with faults: does the gateway's memory stay, and does everything it opened come back?

    python -m bench.soak                        # 15 minutes at 500 requests/s
    python -m bench.soak --minutes 3 --rate 150

An open loop: requests begin at their times whether those before have ended or not. They are of every API, streamed or
not; each endpoint but one meets a share of them with a fault; one client in a hundred leaves in mid-answer, and one
connection in a hundred is not kept. The gateway is a process of its own. Every second its resident memory, open files
and asyncio tasks are read. Bars: from the warm-up (3 minutes, or a third of a shorter run) to the end memory grows by
less than 5 %; files and tasks are back to what they were before the load; every answer is whole (one in ten is also
held against the truth).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from bench.asking import (
    LASTING,
    Reply,
    Tally,
    Wire,
    break_endpoints,
    count_faults,
    draw,
    make_specs,
    make_upstream,
    show_faults,
    write_request,
)
from bench.killed import get_free_ports, wait_until_served, write_config
from providerrank.sim.providers import SimProviders
from providerrank.sim.questions import Question
from providerrank.sim.spec import ApiName

JUDGED = 0.1
LEAVES = 0.01
FRESH = 0.01
MOST_PENDING = 3_000
"""More at once means that this machine does not carry the rate: what would begin then is left out and counted."""
MOST_GROWTH = 0.05
BACK_S = 90.0
"""For everything to be closed that is kept for reuse: connections to endpoints are kept for a minute."""

GATEWAY = """
import asyncio, json, sys
import uvloop
from pathlib import Path
from providerrank.apps import config, serve

async def main():
    async with serve.opened(config.load(Path(sys.argv[1]), {})) as service:
        async def tell(reader, writer):
            while await reader.readline():
                writer.write(json.dumps({"tasks": len(asyncio.all_tasks())}).encode() + b"\\n")
        await asyncio.start_unix_server(tell, sys.argv[2])
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await service.drain()

uvloop.run(main())
"""
"""``serve`` with a socket beside it that tells how many tasks there are."""


@dataclass(frozen=True)
class Sample:
    """The gateway at one moment."""

    at_s: float
    rss_kb: int
    files: int
    tasks: int


class Watch:
    """Reads what a process holds."""

    def __init__(self, pid: int, path: str) -> None:
        self._pid = pid
        self._path = path
        self._began_s = time.monotonic()
        self.samples: list[Sample] = []

    async def open(self) -> None:
        while not Path(self._path).exists():  # noqa: ASYNC110, ASYNC240  # nothing tells of it
            await asyncio.sleep(0.05)
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)

    def close(self) -> None:
        self._writer.close()

    async def read(self) -> Sample:
        self._writer.write(b"?\n")
        told = json.loads(await self._reader.readline())
        status = Path(f"/proc/{self._pid}/status").read_text()  # noqa: ASYNC240
        rss_kb = int(status.partition("VmRSS:")[2].split()[0])
        files = sum(1 for _ in Path(f"/proc/{self._pid}/fd").iterdir())  # noqa: ASYNC240
        return Sample(time.monotonic() - self._began_s, rss_kb, files, told["tasks"])

    async def run(self) -> None:
        self._began_s = time.monotonic()
        while True:
            self.samples.append(await self.read())
            await asyncio.sleep(1)


class Load:
    """The open loop."""

    def __init__(self, port: int, names: list[str], rate: float, rng: random.Random) -> None:
        self._port = port
        self._names = names
        self._rate = rate
        self._rng = rng
        self._idle: list[Wire] = []
        self.tally = Tally()
        self.pending: set[asyncio.Task[None]] = set()
        self.done: Counter[int] = Counter()
        """Answers by minute."""
        self.seconds: dict[int, list[float]] = {}
        self.left_out = self.left = 0
        self._began_s = 0.0

    async def run(self, duration_s: float) -> None:
        self._began_s = began_s = time.monotonic()
        number = 0
        while (now_s := time.monotonic() - began_s) < duration_s:
            while number < now_s * self._rate:
                number += 1
                if len(self.pending) >= MOST_PENDING:
                    self.left_out += 1
                    continue
                task = asyncio.create_task(self._one(number))
                self.pending.add(task)
                task.add_done_callback(self.pending.discard)
            await asyncio.sleep(0.002)
        if self.pending:
            await asyncio.wait(self.pending, timeout=60)
        for wire in self._idle:
            wire.close()

    async def _one(self, number: int) -> None:
        rng = self._rng
        api, question = draw(number, rng)
        question = replace(question, words=f"{number}: why? [[tokens={rng.randint(4, 16)}]]")
        data = write_request(api, question, rng.sample(self._names, 2))
        wire = self._idle.pop() if self._idle else Wire("127.0.0.1", self._port)
        began = time.perf_counter()
        await wire.connect()
        if rng.random() < LEAVES:
            self.left += 1
            await self._leave(wire, data)
            return
        reply = await wire.ask(data)
        minute = int((time.monotonic() - self._began_s) // 60)
        self.done[minute] += 1
        self.seconds.setdefault(minute, []).append(time.perf_counter() - began)
        self._judge(api, question, reply, rng.random() < JUDGED)
        if rng.random() < FRESH:
            wire.close()
        else:
            self._idle.append(wire)

    async def _leave(self, wire: Wire, data: bytes) -> None:
        asking = asyncio.create_task(wire.ask(data))
        await asyncio.sleep(self._rng.random() * 0.02)
        wire.close()
        asking.cancel()
        await asyncio.wait([asking])

    def _judge(self, api: ApiName, question: Question, reply: Reply, fully: bool) -> None:
        if fully:
            self.tally.judge(api, question, reply)
        elif not reply.whole:
            self.tally.wrong.append(f"{api}: {reply.end} after {len(reply.body)} bytes")
        elif reply.status >= 500:
            self.tally.wrong.append(f"{api}: HTTP {reply.status} {reply.body[:800]!r}")


async def run(minutes: float, rate: float, seed: int, share: float, each: int, only: list[str]) -> list[str]:
    """The whole benchmark; returns which bars were not met."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path, told, ports = Path(folder) / "providerrank.toml", f"{folder}/told", get_free_ports()
        async with SimProviders(make_specs(each), seed=seed) as sims:
            names = break_endpoints(sims, share, only, LASTING)
            counters = count_faults(sims)
            write_config(path, ports, 1, [make_upstream(sim.spec, sim.url) for sim in sims], 0.02)
            with (Path(folder) / "log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", GATEWAY, str(path), told),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                )
            try:
                await wait_until_served(process, ports[0])
                watch = Watch(process.pid, told)
                await watch.open()
                await asyncio.sleep(0.5)
                before = await watch.read()
                load = Load(ports[0], names, rate, rng)
                watching = asyncio.create_task(watch.run())
                await load.run(minutes * 60)
                watching.cancel()
                await asyncio.wait([watching])
                after = await wait_until_back(watch, before)
                watch.close()
                assert process.stdin is not None
                process.stdin.close()
                await asyncio.wait_for(process.wait(), 60)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                text = (Path(folder) / "log").read_text("utf-8", "replace")
    show_faults(counters)
    missed = report(load, watch.samples, before, after, minutes)
    if "Traceback" in text:
        missed.append(f"a traceback in the log: {text[text.index('Traceback') :][:1500]}")
    return missed


async def wait_until_back(watch: Watch, before: Sample) -> Sample:
    """Give what is kept for reuse its time to be closed."""
    deadline = time.monotonic() + BACK_S
    while True:
        now = await watch.read()
        if (now.files <= before.files and now.tasks <= before.tasks) or time.monotonic() > deadline:
            return now
        await asyncio.sleep(1)


def report(load: Load, samples: list[Sample], before: Sample, after: Sample, minutes: float) -> list[str]:
    """Print the table; returns the bars that were not met."""
    print(f"{'minute':>6}{'answers':>9}{'p50 ms':>8}{'p99 ms':>8}{'RSS MB':>8}{'files':>7}{'tasks':>7}")
    for minute in sorted(load.done):
        seconds = sorted(load.seconds[minute])
        within = [sample for sample in samples if minute * 60 <= sample.at_s < minute * 60 + 60] or samples[-1:]
        half_ms, most_ms = seconds[len(seconds) // 2] * 1e3, seconds[len(seconds) * 99 // 100] * 1e3
        rss, files, tasks = (
            statistics.median(values)
            for values in zip(*((s.rss_kb / 1024, s.files, s.tasks) for s in within), strict=True)
        )
        print(f"{minute:6}{load.done[minute]:9}{half_ms:8.1f}{most_ms:8.1f}{rss:8.1f}{files:7.0f}{tasks:7.0f}")
    warm_s = min(180.0, minutes * 20)
    window_s = max(10.0, minutes * 2)
    warm = statistics.median(s.rss_kb for s in samples if warm_s <= s.at_s < warm_s + window_s)
    last = statistics.median(s.rss_kb for s in samples if s.at_s >= samples[-1].at_s - window_s)
    growth = last / warm - 1
    print(f"clients that left in mid-answer {load.left}; left out since too many were under way {load.left_out}")
    print(
        f"memory from {warm_s:.0f} s to the end: {warm / 1024:.1f} to {last / 1024:.1f} MB, {growth:+.1%} (below +5 %)"
    )
    print(
        f"before the load: {before.files} files, {before.tasks} tasks; after: {after.files} files, {after.tasks} tasks"
    )
    most = max(samples, key=lambda sample: sample.rss_kb)
    print(f"most memory: {most.rss_kb / 1024:.1f} MB at {most.at_s:.0f} s; after all: {after.rss_kb / 1024:.1f} MB")
    load.tally.show()
    missed = list(load.tally.wrong)
    if growth >= MOST_GROWTH:
        missed.append(f"memory grew by {growth:.1%}")
    if after.files > before.files or after.tasks > before.tasks:
        missed.append("files or tasks are left")
    return missed


def main() -> int:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--faults", type=float, default=0.1, help="share of its requests an endpoint meets with a fault"
    )
    parser.add_argument("--faulty", type=int, default=2, help="faulty endpoints of each of four kinds")
    parser.add_argument("--only", action="append", default=[], help="inject only this fault (repeatable)")
    args = parser.parse_args()
    uvloop.install()
    missed = asyncio.run(run(args.minutes, args.rate, args.seed, args.faults, args.faulty, args.only))
    print(f"failures: {len(missed)}")
    for line in missed[:20]:
        print("  ", line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
