"""Code that does its worst, in the real sandbox."""

from __future__ import annotations

import asyncio
import platform
import socket
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from providerrank.engines import sandbox_child
from providerrank.engines.errors import SandboxUnavailableError
from providerrank.engines.sandbox import Sandbox, SandboxLimits
from providerrank.rules.challenges.shape import CodeJob, Json, RunFault, RunResult

LIMITS = SandboxLimits(cpu_s=1, wall_s=3.0)


async def run(source: str, *calls: tuple[Json, ...], limits: SandboxLimits = LIMITS) -> RunResult:
    return await Sandbox(limits).run(CodeJob(textwrap.dedent(source), "f", calls or ((),)))


def refused(result: RunResult) -> bool:
    """Whether the code was told that it may not: the functions below return the name of the exception."""
    assert result.outputs is not None, result
    return result.outputs[0] == "PermissionError"


def attempt(statement: str) -> str:
    """A function that tries something and returns what stopped it."""
    return f"""
        def f():
            try:
                {statement}
            except BaseException as error:
                return type(error).__name__
            return "done"
    """


async def test_honest_code_returns_its_results() -> None:
    source = """
        import collections, re
        from datetime import date

        def f(text, times):
            print("this goes nowhere")
            counts = collections.Counter(re.findall(r"[a-z]+", text))
            return {"counts": counts, "day": date(2024, 2, 29).isoformat(), "list": [None, True] * times}
    """
    result = await run(source, ("a b a", 1), ("", 0))
    assert result == RunResult(
        (
            {"counts": {"a": 2, "b": 1}, "day": "2024-02-29", "list": [None, True]},
            {"counts": {}, "day": "2024-02-29", "list": []},
        )
    )


async def test_the_walls_stand_here() -> None:
    walls = await Sandbox().probe()
    assert {"limits", "seccomp"} <= set(walls)


async def test_an_infinite_loop_runs_out_of_cpu_time() -> None:
    assert await run("def f():\n    while True: pass") == RunResult(None, RunFault.LIMIT)


async def test_sleeping_runs_out_of_time() -> None:
    limits = SandboxLimits(wall_s=0.2)
    assert await run("import time\ndef f():\n    time.sleep(60)", limits=limits) == RunResult(None, RunFault.LIMIT)


@pytest.mark.parametrize(
    "statement",
    [
        "return len(bytearray(10**10))",
        "return len([0] * 10**9)",
        "x = 'x'\n    while True: x += x",
        "return 10 ** 10 ** 9",
    ],
)
async def test_a_memory_bomb_is_stopped(statement: str) -> None:
    result = await run(f"def f():\n    {statement}")
    assert result.outputs is None
    assert result.fault in (RunFault.LIMIT, RunFault.CRASHED)


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    return 'x' * 10**7",
        "import os\ndef f():\n    while True: os.write(1, b'x' * 65536)",
    ],
)
async def test_huge_output_is_cut_off(source: str) -> None:
    assert await run(source) == RunResult(None, RunFault.LIMIT)


async def test_a_fork_bomb_starts_no_process() -> None:
    source = """
        import os
        def f():
            started = 0
            for _ in range(1000):
                try:
                    os.fork()
                    started += 1
                except OSError:
                    pass
            return started
    """
    assert await run(source) == RunResult((0,))


@pytest.mark.parametrize(
    "statement",
    [
        "import os; os.fork()",
        "import os; os.execv('/bin/sh', ['sh', '-c', 'true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import os; os.system('true') and 1 / 0 or 1 / 0",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import threading; threading.Thread(target=print).start()",
        "import _thread; _thread.start_new_thread(print, ())",
        "import multiprocessing; multiprocessing.Process().start()",
    ],
)
async def test_no_process_and_no_thread_starts(statement: str) -> None:
    result = await run(attempt(statement))
    assert result.outputs is None or result.outputs[0] != "done"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


async def test_no_connection_is_made(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert refused(await run(attempt(f"import socket; socket.socket().connect(('127.0.0.1', {port}))")))
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize(
    "statement",
    [
        "import socket; socket.socket()",
        "import socket; socket.socketpair()",
        "import socket; socket.getaddrinfo('localhost', 80); raise PermissionError",
        "open('/etc/passwd').read()",
        "open(f'/proc/{__import__(\"os\").getppid()}/environ').read()",
        "open('/proc/self/mem', 'rb').read(1)",
        "import os; os.listdir('/')",
        "import os; os.stat('/etc/passwd')",
        "import os; os.readlink('/proc/self/exe')",
        "import os; os.chdir('/tmp')",
        "import os; os.mkdir('/tmp/x')",
        "import os; os.unlink('/tmp/x')",
        "import os; os.dup(1)",
        "import os; os.pipe()",
        "import os; os.setsid()",
        "import os; os.nice(-5)",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(1, 9)",
        "import os; os.killpg(0, 9)",
        "import os; os.memfd_create('x')",
        "import sqlite3",
        "import asyncio; asyncio.new_event_loop()",
    ],
)
async def test_the_outside_cannot_be_reached(statement: str) -> None:
    result = await run(attempt(statement))
    assert result.outputs is None or result.outputs[0] != "done", result


async def test_the_seccomp_filter_holds_against_raw_system_calls() -> None:
    source = """
        import ctypes
        def f():
            libc = ctypes.CDLL(None, use_errno=True)
            seen = []
            for call in (41, 56, 57, 58, 59, 62, 101, 157, 257, 310, 317, 322, 425, 435, 437):
                seen.append((libc.syscall(call, 0, 0, 0, 0, 0, 0), ctypes.get_errno()))
            seen.append((libc.prctl(22, 2, 0, 0, 0), ctypes.get_errno()))
            return [value for value in seen if value != (-1, 1)]
    """
    if platform.machine() == "x86_64":  # the numbers above are of that machine
        assert await run(source) in (RunResult(([],)), RunResult(None, RunFault.RAISED))


async def test_the_parents_environment_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERRANK_KEY", "secret")
    result = await run("import os\ndef f():\n    return sorted(os.environ)")
    assert result in (RunResult(([],)), RunResult((["LC_CTYPE"],)))  # the interpreter sets that one itself


async def test_nothing_is_written(tmp_path: Path) -> None:
    place = tmp_path / "written"
    assert refused(await run(attempt(f"open({str(place)!r}, 'w').write('x')")))
    assert not place.exists()


@pytest.mark.parametrize(
    "body",
    [
        "return f()",
        "import sys; sys.setrecursionlimit(10**9); return f()",
        "x = []\n    for _ in range(10**5): x = [x]\n    return x",
    ],
)
async def test_deep_recursion_ends(body: str) -> None:
    result = await run(f"def f():\n    {body}")
    assert result.outputs is None


@pytest.mark.parametrize(
    "source",
    [
        "import sys\ndef f(n):\n    sys.exit(0)",
        "import os\ndef f(n):\n    os._exit(0)",
        "raise SystemExit(0)\ndef f(n): return n + 1",
        "def f(n):\n    raise AssertionError",
        "def f(n):\n    raise KeyboardInterrupt",
        "def g(n): return n + 1",
        "f = 3",
        "def f(n:",
        "def f(n):\n    return object()",
        "def f(n):\n    return {1, 2}",
        "import os, signal\ndef f(n):\n    signal.raise_signal(signal.SIGKILL)",
        "import os\ndef f(n):\n    os.close(1)\n    return n + 1",
        "import os\ndef f(n):\n    os.write(1, b'noise\\n')\n    return n + 1",
        "import os\ndef f(n):\n    os.write(1, b'[' * 100000)\n    return n + 1",
        'import os\ndef f(n):\n    os.write(1, b\'{"outputs": [3, 3], "x": 1}\\n\')\n    os._exit(0)',
    ],
)
async def test_whatever_ends_early_has_no_results(source: str) -> None:
    result = await run(source, (1,), (2,))
    assert result.outputs is None
    assert result.fault in (RunFault.RAISED, RunFault.CRASHED)


@pytest.mark.parametrize(
    "source",
    [
        # The right results are 2 and 3; none of these computes them.
        "import builtins\nbuiltins.all = builtins.any = lambda *a: True\ndef f(n): return 0",
        "import json\njson.dumps = lambda *a, **k: '{\"outputs\": [2]}'\ndef f(n): return 0",
        "class Any(int):\n    def __eq__(self, other): return True\ndef f(n): return Any(0)",
        "import builtins\nbuiltins.AssertionError = Warning\ndef f(n): assert False",
        "import sys\nsys.modules['__main__']._say = print\ndef f(n): return 0",
        "import sys\nsys.modules['__main__'].run = None\ndef f(n): return 0",
        "import gc\ndef f(n): return len([o for o in gc.get_objects() if 'expected' in str(type(o))])",
    ],
)
async def test_tampering_makes_no_right_result(source: str) -> None:
    result = await run(source, (1,), (2,))
    assert result.outputs != (2, 3)


async def test_jobs_wait_for_their_turn_and_all_run() -> None:
    sandbox = Sandbox(SandboxLimits(at_once=1))
    jobs = [CodeJob("def f(n): return n * n", "f", ((number,),)) for number in range(3)]
    assert await asyncio.gather(*map(sandbox.run, jobs)) == [RunResult((0,)), RunResult((1,)), RunResult((4,))]


async def test_a_cancelled_run_leaves_no_process() -> None:
    task = asyncio.create_task(run("import time\ndef f():\n    time.sleep(60)", limits=SandboxLimits(wall_s=60)))
    started: list[asyncio.subprocess.Process] = []
    original = Sandbox._start

    async def start(self: Sandbox) -> asyncio.subprocess.Process:
        process = await original(self)
        started.append(process)
        return process

    Sandbox._start = start  # type: ignore[method-assign]
    try:
        while not started:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        Sandbox._start = original  # type: ignore[method-assign]
    assert started[0].returncode is not None


async def test_it_refuses_elsewhere_than_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxUnavailableError, match="this is darwin"):
        await run("def f(): return 1")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ('import os; os.write(1, b\'{"refused": "no seccomp"}\\n\')', "no seccomp"),
        ('import os; os.write(1, b\'{"ready": ["limits"]}\\n\')', "ended before it was ready"),
        ("raise SystemExit", "ended before it was ready"),
        ("import time; time.sleep(60)", "not ready after"),
    ],
)
async def test_it_refuses_without_its_walls(tmp_path: Path, program: str, message: str) -> None:
    child = tmp_path / "child.py"
    child.write_text(program)
    sandbox = Sandbox(SandboxLimits(start_s=1.0), program=child)
    with pytest.raises(SandboxUnavailableError, match=message):
        await sandbox.run(CodeJob("def f(): return 1", "f", ((),)))


async def test_it_refuses_where_no_process_starts(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailableError, match="No such file"):
        await Sandbox(python=str(tmp_path / "none")).probe()


def test_a_machine_without_a_list_of_calls_is_refused() -> None:
    with pytest.raises(OSError, match="no list of system calls for riscv64"):
        sandbox_child.build_filter("riscv64")


@pytest.mark.parametrize("machine", sorted(sandbox_child.ARCHITECTURES))
def test_the_filter_allows_exactly_its_list(machine: str) -> None:
    """A small machine for the five instructions used, run over every number."""
    architecture, calls = sandbox_child.ARCHITECTURES[machine]
    program = sandbox_child.build_filter(machine)

    def judge(number: int, on: int) -> int:
        import struct

        steps = list(struct.iter_unpack("=HBBI", program))
        at = accumulator = 0
        while True:
            code, if_true, if_false, value = steps[at]
            at += 1
            if code == sandbox_child.BPF_LOAD_WORD:
                accumulator = number if value == sandbox_child.DATA_NUMBER else on
            elif code == sandbox_child.BPF_JUMP_EQUAL:
                at += if_true if accumulator == value else if_false
            else:
                return int(value)

    allowed = {number for number in range(600) if judge(number, architecture) == sandbox_child.SECCOMP_RET_ALLOW}
    assert allowed == set(calls.values())
    assert judge(0x40000000 + 57, architecture) == sandbox_child.SECCOMP_RET_ERRNO | 1
    assert judge(0, 0x40000003) == sandbox_child.SECCOMP_RET_KILL_PROCESS


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
