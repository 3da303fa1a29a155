"""How fast the simulated endpoints are: server CPU for each answer, with a client in another process.

    python bench/sim_providers.py [--seconds 5] [--connections 32]

The client (raw sockets, keep-alive) shares the machine; the figure to read is the server's CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection
from typing import cast

import uvloop

from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec

PROMPT = "Say something about provider endpoints, please. " * 4


def serve(pipe: Connection) -> None:
    async def served() -> None:
        async with SimProviders([EndpointSpec(name="one")]) as sims:
            before = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send(sims["one"].port)
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
            used = resource.getrusage(resource.RUSAGE_SELF)
            cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
            pipe.send((cpu_s, sims["one"].log.requests, used.ru_maxrss // 1024))

    uvloop.run(served())


class Client(asyncio.Protocol):
    """Asks again as soon as it is answered."""

    answered = 0

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.held += data
        if self.held.endswith(b"\r\n0\r\n\r\n") or self.is_whole():
            self.held = b""
            Client.answered += 1
            self.transport.write(self.request)

    def is_whole(self) -> bool:
        head, _, body = self.held.partition(b"\r\n\r\n")
        _, found, rest = head.partition(b"content-length: ")
        return bool(found) and len(body) >= int(rest.split(b"\r\n")[0])


async def drive(port: int, stream: bool, seconds: float, connections: int) -> float:
    body = {"model": "m", "messages": [{"role": "user", "content": PROMPT}], "stream": stream}
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\nauthorization: Bearer k\r\ncontent-length: {len(data)}\r\n"
    )
    request = f"{head}content-type: application/json\r\naccept: */*\r\n\r\n".encode() + data
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Client(request), "127.0.0.1", port)
    started_s, before = time.perf_counter(), Client.answered
    await asyncio.sleep(seconds)
    return (Client.answered - before) / (time.perf_counter() - started_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    for stream in (False, True):
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
        server.start()
        rate = uvloop.run(drive(ours.recv(), stream, options.seconds, options.connections))
        ours.send(None)
        cpu_s, requests, resident_mib = ours.recv()
        server.join()
        kind = "streams of 32 tokens" if stream else "plain answers"
        print(
            f"{kind:20}  {rate:8.0f} /s  {cpu_s / requests * 1e6:6.1f} µs CPU each"
            f" ({requests / cpu_s:.0f} /s on one core)  {resident_mib} MiB at most"
        )


if __name__ == "__main__":
    main()
