"""What other clients notice while hostile ones do all they can, all at once.

    python -m bench.hostile                    # 10,000 idle connections among the rest
    python -m bench.hostile --idle 2000 --seconds 10

Four processes: a gateway; an endpoint with the client that is measured; another endpoint; the hostile clients. The
measured client asks a plain chat question at a steady rate, first alone, then beside the others; its p99 with over its
p99 without is the figure. The hostile ones have idle connections open, dribble heads and bodies, ask for streams they
never read, pipeline without reading, connect and vanish, and send what is no HTTP, no JSON, or JSON 100,000 levels
deep.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import uvloop

from providerrank.gateway.server import Gateway
from providerrank.gateway.settings import GatewaySettings, Limits, Upstream
from providerrank.rules.catalog import Buyer, Catalog
from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.router import Router
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec

ASK = {"model": "m", "messages": [{"role": "user", "content": "Say something. [[tokens=24]]"}]}
MUCH = {"model": "big", "messages": [{"role": "user", "content": "Much [[tokens=20000]]"}], "stream": True}


def post(body: bytes) -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % len(body) + body


NOISE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000,
    b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(8_000)),
    post(b'{"model":"m","messages":[1],"x":' + b"[" * 100_000),
    post(b'{"model":"m","messages":[1],"max_tokens":' + b"9" * 4000 + b"}"),
    post(
        json.dumps(
            {**ASK, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}] * 2000}
        ).encode()
    ),
    post(b"\xff" * 10_000),
    bytes(range(256)) * 40,
]


# ---- the gateway -----------------------------------------------------------------------------------------------------


async def serve(url: str, big_url: str) -> None:
    upstreams = tuple(
        Upstream(Endpoint(f"a/{model}", model, Price.from_usd(1, 1)), where, model)
        for model, where in (("m", url), ("big", big_url))
    )
    catalog = Catalog(tuple(one.endpoint for one in upstreams), (), Buyer())
    gateway = Gateway(
        GatewaySettings(port=0, upstreams=upstreams, limits=Limits(client_stall_us=10_000_000)),
        Router(catalog, random.Random(1)),
    )
    await gateway.start()
    print(gateway.port, flush=True)
    await asyncio.Event().wait()


async def provide(tokens_per_s: float | None) -> None:
    """The endpoint of what nobody reads: a process of its own, since writing it is work."""
    spec = EndpointSpec(name="a") if tokens_per_s is None else EndpointSpec(name="a", tokens_per_s=tokens_per_s)
    async with SimProviders([spec]) as sims:
        print(sims["a"].url, flush=True)
        await asyncio.Event().wait()


# ---- the hostile -----------------------------------------------------------------------------------------------------


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)


async def attack(port: int, idle: int, seconds: float) -> None:
    kept: list[object] = []
    for _ in range(idle):
        plug = socket.socket()
        plug.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", port))
        kept.append(plug)
    print("idle", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

    async def repeat(one: object, pause_s: float) -> None:
        while True:
            try:
                await one()  # type: ignore[operator]  # a coroutine function
            except OSError:
                pass
            await asyncio.sleep(pause_s)

    async def dribble(data: bytes) -> None:
        _, writer = await connect(port)
        for byte in data:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.5)
        writer.close()

    async def never_read(data: bytes, times: int) -> None:
        reader, writer = await connect(port)
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # that is the point
        for _ in range(times):
            writer.write(data)
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
        writer.transport.abort()

    async def noise() -> None:
        reader, writer = await connect(port)
        writer.write(random.choice(NOISE))
        try:
            await asyncio.wait_for(reader.read(1000), 1)
        except TimeoutError:
            pass
        writer.transport.abort()

    async def vanish() -> None:
        _, writer = await connect(port)
        writer.write(post(json.dumps(ASK).encode())[: random.randrange(200)])
        writer.transport.abort()

    tasks = [
        asyncio.create_task(repeat(lambda: dribble(b"POST /v1/chat/completions HTTP/1.1\r\nX: " + b"x" * 999), 1))
        for _ in range(200)
    ]
    tasks += [asyncio.create_task(repeat(lambda: dribble(post(b" " * 500)[60:]), 1)) for _ in range(100)]
    tasks += [asyncio.create_task(repeat(lambda: never_read(post(json.dumps(MUCH).encode()), 1), 1)) for _ in range(20)]
    tasks += [
        asyncio.create_task(repeat(lambda: never_read(b"GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n" * 500, 50), 1))
        for _ in range(5)
    ]
    tasks += [asyncio.create_task(repeat(noise, 0.1)) for _ in range(10)]
    tasks += [asyncio.create_task(repeat(vanish, 0.05)) for _ in range(5)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()


# ---- the client that is measured -------------------------------------------------------------------------------------


async def measure(port: int, seconds: float, rate: float) -> list[float]:
    """Milliseconds of each answer; one that is not whole raises."""
    reader, writer = await connect(port)
    data, took = post(json.dumps(ASK).encode()), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(1 / rate)
    writer.close()
    return sorted(took)


def _spawn(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def rss_kib(pid: int) -> int:
    return next(
        int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line
    )


def show(name: str, took: list[float]) -> str:
    at = [took[int(len(took) * share)] for share in (0.5, 0.99)]
    return f"| {name} | {len(took):,} | {at[0]:.2f} | {at[1]:.2f} | {took[-1]:.1f} |"


async def run(idle: int, seconds: float, rate: float, *, burst: bool) -> int:
    me = [sys.executable, "-m", "bench.hostile"]
    async with SimProviders([EndpointSpec(name="a")]) as sims:
        provider = _spawn([*me, "--provide", *(["--burst"] if burst else [])])
        assert provider.stdout is not None
        big_url = (await asyncio.to_thread(provider.stdout.readline)).strip()
        gateway = _spawn([*me, "--serve", sims["a"].url, big_url])
        assert gateway.stdout is not None
        port = int(await asyncio.to_thread(gateway.stdout.readline))
        await measure(port, 2, rate)
        alone = await measure(port, seconds, rate)
        before = rss_kib(gateway.pid)
        foe = _spawn(
            [*me, "--attack", str(port), "--idle", str(idle), "--seconds", str(seconds + 4)],
        )  # fmt: skip
        assert foe.stdout is not None
        assert foe.stdin is not None
        await asyncio.to_thread(foe.stdout.readline)
        await asyncio.sleep(1)
        each = (rss_kib(gateway.pid) - before) * 1024 / idle
        among = await measure(port, seconds, rate)
        foe.stdin.write("\n")
        foe.stdin.flush()
        await asyncio.sleep(2)
        beside = await measure(port, seconds, rate)
        peak = rss_kib(gateway.pid)
        foe.wait()
        await asyncio.sleep(2)
        after = await measure(port, seconds / 2, rate)
        alive = gateway.poll() is None
        gateway.send_signal(signal.SIGTERM)
        gateway.wait()
        provider.terminate()
        provider.wait()

    def p99(took: list[float]) -> float:
        return took[int(len(took) * 0.99)]

    print(
        f"{os.cpu_count()} cores for the gateway, its endpoints, the hostile and the measured client "
        f"({rate:g} requests/s).\n"
    )
    print("| the measured client | answers | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|")
    for name, took in (
        ("alone", alone),
        (f"beside {idle:,} idle connections", among),
        ("beside everything", beside),
        ("after it", after),
    ):
        print(show(name, took))
    print(f"\np99 beside everything over p99 alone: {p99(beside) / p99(alone):.1f}; every answer whole: yes.")
    print(
        f"Memory: {each:,.0f} bytes for each idle connection; {peak / 1024:.0f} MiB in all under attack. "
        f"Alive: {alive}."
    )
    return 0 if alive else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument(
        "--burst", action="store_true", help="the unread streams come all at once: 4 MB in no time, each"
    )
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--provide", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--attack", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if given.serve:
        uvloop.run(serve(*given.serve))
    elif given.provide:
        uvloop.run(provide(None if given.burst else 500.0))
    elif given.attack:
        uvloop.run(attack(given.attack, given.idle, given.seconds))
    else:
        return uvloop.run(run(min(given.idle, hard - 2_000), given.seconds, given.rate, burst=given.burst))
    return 0


if __name__ == "__main__":
    sys.exit(main())
