"""The same with `providerrank serve` as several workers: killed -9 and reloaded while requests are under way.

Which requests a killed worker had is not guessed: it is stopped, the other ends of its connections are read from the
kernel, and only then is it killed. A request that fails must have been under way on one of those, and must not look
whole. A request sent on a kept connection after its worker died is asked anew on a fresh one, as every HTTP client
does; it must then be answered.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

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
from providerrank.gateway.settings import Upstream
from providerrank.sim.providers import SimProviders
from providerrank.sim.readers import NotTheApi, read_reply

EVERY_S = 2.0
RUN = "import sys; from providerrank.apps.entry import main; sys.exit(main())"


def write_config(
    path: Path, ports: tuple[int, int], workers: int, upstreams: list[Upstream], exploration: float
) -> None:
    """The configuration; what a reload changes is the share of exploration."""
    lines = [
        "[gateway]",
        f'listen = "127.0.0.1:{ports[0]}"',
        f'admin = "127.0.0.1:{ports[1]}"',
        f"workers = {workers}",
        "[buyer]",
        f"exploration = {exploration}",
        "[timeouts]",
        "connect = 0.3",
        "first_token = 0.4",
        "idle = 0.5",
        "total = 30.0",
        "patience = 1.0",
    ]
    for one in upstreams:
        lines += [
            "[[endpoints]]",
            f'id = "{one.endpoint.id}"',
            f'model = "{one.endpoint.model}"',
            f'base_url = "{one.base_url}"',
            f'key = "{one.key}"',
            "price = { input = 1.0, output = 1.0 }",
            f"features = {sorted(one.endpoint.features)}",
        ]
        if one.dialect is not None:
            lines.append(f'dialect = "{one.dialect}"')
    # Moved into place: a reload never reads half of it.
    made = path.with_suffix(".new")
    made.write_text("\n".join(lines) + "\n")
    made.replace(path)


def get_free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def get_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def get_peers(pid: int, port: int) -> set[int]:
    """The other ends' ports of a process's connections at a port of its own."""
    inodes = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(one.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    peers = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        part = line.split()
        if part[9] in inodes and int(part[1].rpartition(":")[2], 16) == port:
            peers.add(int(part[2].rpartition(":")[2], 16))
    return peers


def is_stopped(pid: int) -> bool:
    return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()


class Killer:
    """Kills a worker every while, reloads in between, and remembers whom it cut off."""

    def __init__(self, pid: int, ports: tuple[int, int], rng: random.Random) -> None:
        self._pid = pid
        self._port, self._admin_port = ports
        self.refused: list[str] = []
        """Reloads by POST that were not answered with 200."""
        self._rng = rng
        self.cut: dict[int, float] = {}
        """When the connection from a port of ours was cut last."""
        self.kills = self.reloads = 0

    async def _post_reload(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._admin_port)
        writer.write(b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()
        if b" 200 " not in status:
            self.refused.append(status.decode())

    async def run(self, reload: Callable[[int], None]) -> None:
        while True:
            await asyncio.sleep(EVERY_S / 2)
            reload(self.reloads)
            if self.reloads % 2:
                await self._post_reload()
            else:
                os.kill(self._pid, signal.SIGHUP)
            self.reloads += 1
            await asyncio.sleep(EVERY_S / 2)
            workers = get_children(self._pid)
            if not workers:
                continue
            worker = self._rng.choice(workers)
            try:
                os.kill(worker, signal.SIGSTOP)
                while not is_stopped(worker):  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(0.001)
                peers = get_peers(worker, self._port)
                now = time.perf_counter()
                os.kill(worker, signal.SIGKILL)
            except (ProcessLookupError, FileNotFoundError):
                continue
            self.cut.update(dict.fromkeys(peers, now))
            self.kills += 1


async def wait_until_served(process: asyncio.subprocess.Process, port: int) -> None:
    for _ in range(600):
        assert process.returncode is None, "serve has ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise AssertionError("nobody serves")


async def run(requests: int, each: int, seed: int, concurrency: int, workers: int) -> Tally:
    """The whole benchmark: endpoints and clients here, the gateway beside."""
    rng = random.Random(seed)
    tally = Tally()
    ended: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "providerrank.toml"
        ports = get_free_ports()
        async with SimProviders(make_specs(each), seed=seed) as sims:
            upstreams = [make_upstream(sim.spec, sim.url) for sim in sims]
            names = break_endpoints(sims, 0.3, [], LASTING)
            counters = count_faults(sims)
            write_config(path, ports, workers, upstreams, 0.02)
            with (Path(folder) / "log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", RUN, "serve", "-c", str(path), stdout=log, stderr=log
                )
            try:
                for port in ports:
                    await wait_until_served(process, port)
                killer = Killer(process.pid, ports, rng)

                def reload(count: int) -> None:
                    write_config(path, ports, workers, upstreams, 0.02 + 0.01 * (count % 2))

                killing = asyncio.create_task(killer.run(reload))
                numbers = iter(range(requests))

                async def client() -> None:
                    wire = Wire("127.0.0.1", ports[0])
                    for number in numbers:
                        api, question = draw(number, rng)
                        data = write_request(api, question, rng.sample(names, min(8, len(names))))
                        began = time.perf_counter()
                        reply, verdict = await ask(wire, data, killer)
                        tally.seconds.append(time.perf_counter() - began)
                        if not verdict:
                            tally.judge(api, question, reply)
                            continue
                        ended[verdict] += 1
                        if reply.began and looks_whole(api, reply, question.is_streamed(api)):
                            tally.wrong.append(f"{api}: cut by a kill and looks whole: {reply.body[-200:]!r}")
                    wire.close()

                await asyncio.gather(*(client() for _ in range(concurrency)))
                killing.cancel()
                print(f"workers killed {killer.kills}, configurations reloaded {killer.reloads}")
                if killer.refused:
                    tally.wrong.append(f"reloads were refused: {killer.refused}")
                if killing.done() and not killing.cancelled() and (error := killing.exception()) is not None:
                    tally.wrong.append(f"the killer failed: {error!r}")
                print(f"requests that were under way on a killed worker: {ended.total()} {dict(ended)}")
                process.send_signal(signal.SIGTERM)
                await asyncio.wait_for(process.wait(), 60)
                if process.returncode:
                    tally.wrong.append(f"serve ended with {process.returncode}")
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                text = (Path(folder) / "log").read_text("utf-8", "replace")
                print(f"log: {len(text.splitlines())} lines, {text.count('Traceback')} tracebacks; it ends with")
                print(*(f"    {line}" for line in text.splitlines()[-3:]), sep="\n")
                if "Traceback" in text:
                    at = text.index("Traceback")
                    tally.wrong.append(f"a traceback in the log: {text[at : at + 1500]}")
    show_faults(counters)
    return tally


async def ask(wire: Wire, data: bytes, killer: Killer) -> tuple[Reply, str]:
    """One answer, and '' or how the kill of its worker ended it."""
    reply = Reply()
    for _ in range(20):
        try:
            await wire.connect()
        except OSError:
            return Reply(end="could not connect"), ""
        port, sent, reused = wire.port, time.perf_counter(), wire.asked > 0
        reply = await wire.ask(data)
        if reply.whole:
            return reply, ""
        cut = killer.cut.get(port, 0.0)
        if cut >= sent and reply.end in ("closed", "ConnectionResetError", "BrokenPipeError"):
            return reply, "within its answer" if reply.began else "before its answer"
        if reply.began or not reused:
            return reply, ""
        # A kept connection that ended before it was used again: any client asks anew.
    return reply, ""


def looks_whole(api: str, reply: Reply, streamed: bool) -> bool:
    """Whether a client that cares nothing for HTTP's own end would take a cut answer for whole."""
    try:
        return read_reply(api, reply.status, reply.headers, reply.body, streamed).error is None  # type: ignore[arg-type]
    except NotTheApi:
        return False
