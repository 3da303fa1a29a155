"""Processes pinned to a core, and what they use, from /proc."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cost.asking import HOST, PATH, Route, make_body, make_headers

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PORTS = range(20_000, 32_000)
"""Below where Linux takes the ports of outgoing connections from."""
STOP_S = 10.0
QUIET_S = 5.0


class NotStarted(Exception):
    """A gateway that gave no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a whole process tree, in MB; Pss counts a page that is shared once."""

    rss: float
    pss: float


def find_port(taken: set[int]) -> int:
    """A port of loopback that is free and not ``taken``; now it is."""
    while True:
        port = random.choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            if port not in taken:
                taken.add(port)
                return port


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started in this block stays on ``core``."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A program and all it starts: it leads a session of its own, by which they are found."""

    def __init__(self, command: Sequence[str], folder: Path, environ: Mapping[str, str], core: int) -> None:
        self._log = folder / "log"
        self.began = time.perf_counter()
        with pinned(core), self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_answer(self, route: Route, key: str, limit_s: float) -> float:
        """Ask until there is an answer; return the seconds since the start. Raises `NotStarted`."""
        while time.perf_counter() - self.began < limit_s:
            if self._popen.poll() is not None:
                raise NotStarted(f"it ended by itself: {self._read_log()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if _get_status(route, key) == 200:
                    return time.perf_counter() - self.began
            time.sleep(0.01)
        raise NotStarted(f"no answer within {limit_s:.0f} s: {self._read_log()}")

    def read_cpu_s(self) -> float:
        """Seconds of CPU, user and system, of all its processes and of those that ended."""
        return sum(sum(int(ticks) for ticks in stat[11:15]) for _, stat in self._read_stats()) / TICKS_A_SECOND

    def read_memory(self) -> Memory:
        sums = {"Rss:": 0, "Pss:": 0}
        for pid, _ in self._read_stats():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    name, *rest = line.split()
                    if name in sums:
                        sums[name] += int(rest[0])
        return Memory(sums["Rss:"] / 1024, sums["Pss:"] / 1024)

    def await_quiet(self) -> None:
        """Let it end what a stopped client left under way, so that nobody else's figures bear it."""
        until = time.monotonic() + QUIET_S
        before = -1.0
        while time.monotonic() < until and (now := self.read_cpu_s()) > before:
            before = now
            time.sleep(0.1)

    def stop(self) -> None:
        if self._popen.poll() is None:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_S)
        for pid, _ in self._read_stats():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._popen.wait()

    def _read_stats(self) -> list[tuple[int, list[str]]]:
        """Each process of the session, with the fields of its ``stat`` after the name."""
        found: list[tuple[int, list[str]]] = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    stat = (folder / "stat").read_text().rpartition(")")[2].split()
                    if int(stat[3]) == self._popen.pid:
                        found.append((int(folder.name), stat))
        return found

    def _read_log(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[-400:] or "it said nothing"


def read_json(port: int, path: str) -> bytes:
    """GET from loopback."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


def read_steal() -> tuple[int, int]:
    """Ticks that the machine below took from this one, and all ticks."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return fields[7], sum(fields)


def _get_status(route: Route, key: str) -> int:
    connection = http.client.HTTPConnection(HOST, route.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("POST", PATH, make_body(route), make_headers(route, key))
        answer = connection.getresponse()
        answer.read()
        return answer.status
