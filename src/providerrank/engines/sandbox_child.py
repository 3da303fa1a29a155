"""What runs in the sandbox's process: shut every door, then run code nobody trusts.

This file is a program of its own (``python -I -S sandbox_child.py``) and imports the standard library only, before the
doors are shut. In this order:

1. load every module that honest code may import: once the filter is on, nothing can be opened, so nothing more loads;
2. resource limits: CPU time, memory, no files, no core dump;
3. namespaces of its own (user, network, IPC), where the kernel grants them: a second wall, not the one relied on;
4. a seccomp filter with a list of the system calls a computation needs. Any other fails with EPERM: no file can be
   opened, no socket made, no process or thread started, nobody signalled. It cannot be taken off again;
5. try what must not work, and say ``ready`` only if it does not;
6. read the job from standard input, run it, write one line of results to standard output.

The filter is written out here because the one Python library for it has had no release since 2021, and needs a C
library beside it. It is forty instructions, and step 5 tests it at every start.

Nothing in this process is a secret and nothing it says is believed: expected results never enter it.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import json
import os
import platform
import resource
import socket
import struct
import sys

HONEST_MODULES = (
    "abc", "array", "base64", "binascii", "bisect", "calendar", "collections", "collections.abc", "copy", "dataclasses",
    "datetime", "decimal", "difflib", "enum", "fractions", "functools", "hashlib", "heapq", "html", "itertools", "json",
    "keyword", "math", "numbers", "operator", "pprint", "random", "re", "statistics", "string", "struct", "textwrap",
    "time", "types", "typing", "unicodedata", "urllib.parse", "uuid", "zlib",
)  # fmt: skip
"""What functions on data import. Anything else is, inside, a module that does not exist."""

ARCHITECTURES = {
    # machine: (AUDIT_ARCH from linux/audit.h, allowed system calls by number)
    "x86_64": (
        0xC000003E,
        {
            "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
            "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "mremap": 25,
            "madvise": 28, "nanosleep": 35, "getpid": 39, "exit": 60, "gettimeofday": 96, "sigaltstack": 131,
            "gettid": 186, "futex": 202, "clock_gettime": 228, "clock_nanosleep": 230,
            "exit_group": 231, "getrandom": 318,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "close": 57, "lseek": 62, "read": 63, "write": 64, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98,
            "nanosleep": 101, "clock_gettime": 113, "clock_nanosleep": 115, "sigaltstack": 132, "rt_sigaction": 134,
            "rt_sigprocmask": 135, "rt_sigreturn": 139, "gettimeofday": 169, "getpid": 172, "gettid": 178, "brk": 214,
            "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278,
        },
    ),
}  # fmt: skip

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
PR_SET_DUMPABLE = 4
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_KILL_PROCESS = 0x80000000
BPF_LOAD_WORD = 0x20
BPF_JUMP_EQUAL = 0x15
BPF_RETURN = 0x06
DATA_NUMBER = 0
DATA_ARCHITECTURE = 4
CLONE_NEW = 0x10000000 | 0x40000000 | 0x08000000
"""CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC."""

LOOPBACK = ("127.0.0.1", 9)


class _Filter(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def main() -> None:
    """Shut the doors, say so, run the job."""
    limits = [int(argument) for argument in sys.argv[1:]]
    for name in HONEST_MODULES:
        __import__(name)
    try:
        walls = isolate(*limits)
    except OSError as error:
        _say({"refused": str(error)})
        return
    _say({"ready": walls})
    job = json.loads(sys.stdin.buffer.read())
    _say(run(job["source"], job["function"], job["calls"]))
    os._exit(0)


def isolate(cpu_s: int, memory_bytes: int) -> list[str]:
    """Shut every door; returns the names of the walls that stand. Raises ``OSError``, saying what is missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    for limit, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    walls = ["limits"]
    if libc.unshare(CLONE_NEW) == 0:
        walls.append("namespaces")
    _shut_calls(libc)
    walls.append("seccomp")
    _try_doors()
    return walls


def build_filter(machine: str) -> bytes:
    """Assemble the filter: listed calls pass, all others fail with EPERM. Raises ``OSError`` for an unknown machine."""
    if machine not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES)
        raise OSError(errno.ENOTSUP, f"no list of system calls for {machine}: the sandbox runs on Linux on {known}")
    architecture, calls = ARCHITECTURES[machine]

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    steps = [
        step(BPF_LOAD_WORD, DATA_ARCHITECTURE),
        step(BPF_JUMP_EQUAL, architecture, 1, 0),
        step(BPF_RETURN, SECCOMP_RET_KILL_PROCESS),
        step(BPF_LOAD_WORD, DATA_NUMBER),
    ]
    numbers = sorted(calls.values())
    steps += [step(BPF_JUMP_EQUAL, number, len(numbers) - at, 0) for at, number in enumerate(numbers)]
    steps += [step(BPF_RETURN, SECCOMP_RET_ERRNO | errno.EPERM), step(BPF_RETURN, SECCOMP_RET_ALLOW)]
    return b"".join(steps)


def run(source: str, function: str, calls: list[list[object]]) -> dict[str, object]:
    """Run the code and call its function; returns ``{"outputs": [...]}`` or ``{"fault": ...}``."""
    say = json.dumps  # before the code can put another in its place
    sys.stdin = sys.stdout = sys.stderr = _Nowhere()
    space: dict[str, object] = {"__name__": "answer", "__builtins__": builtins}
    try:
        exec(compile(source, "<answer>", "exec", dont_inherit=True), space)  # noqa: S102 - what this process is for
        outputs = [space[function](*call) for call in calls]  # type: ignore[operator]
        say(outputs)
    except MemoryError:
        return {"fault": "limit"}
    except BaseException:  # noqa: BLE001 - SystemExit and what else unknown code raises are its results
        return {"fault": "raised"}
    return {"outputs": outputs}


def _shut_calls(libc: ctypes.CDLL) -> None:
    instructions = build_filter(platform.machine())
    program = _Filter(len(instructions) // 8, instructions)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel does not grant no_new_privs (Linux 3.5 and later do)")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(
            ctypes.get_errno(),
            "kernel or container allow no seccomp filter (it needs CONFIG_SECCOMP_FILTER, and prctl not blocked)",
        )


def _try_doors() -> None:
    """Try what must fail now. Raises ``OSError`` if anything does not."""
    for what, attempt in (
        ("open a file", lambda: os.open("/", os.O_RDONLY)),
        ("make a socket", socket.socket),
        ("start a process", os.fork),
        ("signal its parent", lambda: os.kill(os.getppid(), 0)),
    ):
        try:
            attempt()
        except PermissionError:
            continue
        raise OSError(errno.EACCES, f"the seccomp filter is on and the process can still {what}")


def _say(value: dict[str, object]) -> None:
    data = json.dumps(value, ensure_ascii=True).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


class _Nowhere:
    """Standard streams of code that has nothing to say."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def read(self, size: int = -1) -> str:
        return ""

    readline = read

    def flush(self) -> None:
        pass


if __name__ == "__main__":
    main()
