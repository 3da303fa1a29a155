"""Runs what a model wrote: one process for each job, with no way out of it.

The walls are built inside that process (``sandbox_child``), before the code is even sent to it; from here come the
clocks, the bound on its output, and its end: its session is killed whole. The child is started with an empty
environment, in isolated mode, with three pipes and nothing else open.

Where the walls do not stand, nothing is run: ``SandboxUnavailableError`` names what is missing. Whoever has no sandbox
can verify every task but code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from providerrank.engines import sandbox_child
from providerrank.engines.errors import SandboxUnavailableError
from providerrank.rules.challenges.shape import CodeJob, RunFault, RunResult

PROGRAM = Path(sandbox_child.__file__)
"""Run as a file of its own: it must import nothing of ours."""
OVER_LIMIT = (-signal.SIGXCPU, -signal.SIGKILL)
"""Exit codes of a process that ran out of CPU time; what we kill ourselves never gets this far."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one job may use. An honest solution takes milliseconds."""

    cpu_s: int = 2
    wall_s: float = 6.0
    """From ready to result."""
    start_s: float = 30.0
    """From start to ready: our machine's time, not the code's."""
    memory_bytes: int = 256 * 1024 * 1024
    """Of address space, a fifth of which the interpreter takes."""
    output_bytes: int = 256 * 1024
    at_once: int = 2
    """Jobs that run at one time; others wait."""


class Sandbox:
    """A ``CodeRunner`` over processes of this machine."""

    def __init__(
        self, limits: SandboxLimits | None = None, *, python: str = sys.executable, program: Path = PROGRAM
    ) -> None:
        self._limits = limits or SandboxLimits()
        self._command = (python, "-I", "-S", str(program), str(self._limits.cpu_s), str(self._limits.memory_bytes))
        self._turns = asyncio.Semaphore(self._limits.at_once)

    async def run(self, job: CodeJob) -> RunResult:
        """Run a job. Raises ``SandboxUnavailableError`` where it cannot be isolated."""
        async with self._turns:
            return await self._run(job)

    async def probe(self) -> tuple[str, ...]:
        """Names of the walls that stand here, for `doctor`. Raises ``SandboxUnavailableError``."""
        async with self._turns:
            process = await self._start()
            try:
                return await self._wait_until_ready(process)
            finally:
                await _end(process)

    async def _run(self, job: CodeJob) -> RunResult:
        process = await self._start()
        try:
            await self._wait_until_ready(process)
            try:
                async with asyncio.timeout(self._limits.wall_s):
                    return await self._exchange(process, job)
            except TimeoutError:
                return RunResult(None, RunFault.LIMIT)
        finally:
            await _end(process)

    async def _start(self) -> asyncio.subprocess.Process:
        if sys.platform != "linux":
            raise SandboxUnavailableError(f"this is {sys.platform}")
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
                limit=self._limits.output_bytes,
            )
        except OSError as error:
            raise SandboxUnavailableError(f"no process could be started ({error.strerror})") from None

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> tuple[str, ...]:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._limits.start_s):
                line = await process.stdout.readline()
        except TimeoutError:
            raise SandboxUnavailableError(f"its process was not ready after {self._limits.start_s:g} s") from None
        match _read(line):
            case {"ready": list(walls)} if "seccomp" in walls:
                return tuple(map(str, walls))
            case {"refused": str(reason)}:
                raise SandboxUnavailableError(reason)
            case _:
                raise SandboxUnavailableError("its process ended before it was ready")

    async def _exchange(self, process: asyncio.subprocess.Process, job: CodeJob) -> RunResult:
        assert process.stdin is not None
        assert process.stdout is not None
        request = json.dumps({"source": job.source, "function": job.function, "calls": job.calls})
        with contextlib.suppress(ConnectionError):  # it died early: its exit code says why
            process.stdin.write(request.encode())
            process.stdin.write_eof()
        said = bytearray()
        while chunk := await process.stdout.read(self._limits.output_bytes):
            said += chunk
            if len(said) > self._limits.output_bytes:
                return RunResult(None, RunFault.LIMIT)
        code = await process.wait()
        if code in OVER_LIMIT:
            return RunResult(None, RunFault.LIMIT)
        return _judge(bytes(said), len(job.calls))


def _judge(said: bytes, calls: int) -> RunResult:
    """Read the one line of results; whatever else was written instead is a crash."""
    match _read(said):
        case {"outputs": list(outputs), **rest} if len(outputs) == calls and not rest:
            return RunResult(tuple(outputs))
        case {"fault": "raised"}:
            return RunResult(None, RunFault.RAISED)
        case {"fault": "limit"}:
            return RunResult(None, RunFault.LIMIT)
        case _:
            return RunResult(None, RunFault.CRASHED)


def _read(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the process and its session, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
