"""Clients that live outside this process (other languages, packages that do not go with ours), one process each.

    case = {"case": "openai.plain", "url": "http://…", ...}  ->  a line of JSON in
    {"ok": …} or {"error": {"class": …, "message": …}}       <-  a line of JSON out

The process stays for a whole module: starting it costs more than all of its cases. It holds no state between them.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

ANSWER_S = 60.0
"""For one case; the first one waits for imports."""


class ClientFailed(Exception):
    """The client raised. ``error`` is how that looked to its caller."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['class']}: {error['message']}")
        self.error = error


class Resident:
    """A process that takes cases and tells what came of them."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        assert self._process.stdout is not None
        # A thread reads: whoever waits for a line can stop waiting.
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.put(line)
        self._lines.put("")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    async def ask(self, case: str, **fields: Any) -> Any:  # whatever the case tells
        """Run one case. Raises ClientFailed where the client raised, AssertionError where the process is gone."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"case": case, **fields}) + "\n")
        self._process.stdin.flush()
        line = await asyncio.to_thread(self._lines.get, timeout=ANSWER_S)
        assert line, f"the clients' process ended in {case}"
        told = json.loads(line)
        if "error" in told:
            raise ClientFailed(told["error"])
        return told["ok"]
