"""`providerrank demo`: real prompts over real endpoints that break one by one, and a client that sees only answers.

Everything is on this machine and real but the misfortune: one process for each endpoint, each serving
the same real model; the gateway as `providerrank serve` runs it, from a configuration file; the
official `openai` SDK as its only client. The show is a script (`demo_scenario`), and what it proves is
in the summary: no failure reached the client. Without the model's packages the endpoints are
simulated, and everything else is as it is.

The command's exit code is 0 only if no failure was visible to the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live

from providerrank.apps.demo import market
from providerrank.apps.demo.gateway import DemoGateway, write_config
from providerrank.apps.demo.scenario import (
    MODEL,
    PLAYS,
    SELLERS,
    SENTENCES,
    Cue,
    Event,
    Mishap,
    choose_victim,
    compute_cues,
)
from providerrank.apps.demo.summary import Summary, Tally, compute_summary
from providerrank.apps.demo.table import Row, format_row, format_status, format_summary, render_frame, render_table
from providerrank.sim.llama import EndpointStartError, LocalEndpoint, ModelMissingError, find_model

SHOW_S = 45.0
"""Length of the show when `--seconds` does not give one."""
FRAMES_PER_S = 4
LOG_EVERY_S = 5.0
"""How often the table is written where there is no terminal to draw on."""
RECOVERING_S = 6.0
"""How long the table says that an endpoint is coming back."""
SEED = 20
"""The demo asks the same questions every time; what happens to them still depends on the machine."""

NO_SDK = (
    "The demo's client is the official openai SDK, which is not installed: "
    "pip install 'providerrank[demo]' (or: make demo, which does it)."
)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says."""

    seconds: float | None = None
    """End after a show of this length; None: stay up after it until interrupted."""
    simulated: bool = False
    """Simulated endpoints even where the real model is installed."""
    market: market.Act | None = None
    """The second act; None: there is none."""
    as_json: bool = False
    """Print the summary as JSON on standard output and everything else on standard error."""


def run_demo(options: DemoOptions) -> int:
    """Run the demo; returns the exit code."""
    say = sys.stderr if options.as_json else sys.stdout
    if importlib.util.find_spec("openai") is None:
        print(NO_SDK, file=sys.stderr)
        return 1
    gguf: Path | None = None
    if options.simulated:
        print("Simulated endpoints, as asked: no model computes these answers.", file=say)
    else:
        try:
            gguf = find_model()
        except ModelMissingError as missing:
            print(f"{missing} Going on with simulated endpoints.", file=say)
    try:
        return asyncio.run(_Show(options, gguf, Console(file=say)).run())
    except EndpointStartError as error:
        print(f"The demo cannot start: {error}", file=sys.stderr)
        return 1


class _Show:
    """One run of the demo: its endpoints, its gateway, its client, and the screen."""

    def __init__(self, options: DemoOptions, gguf: Path | None, console: Console) -> None:
        self._options = options
        self._console = console
        self._is_live = console.is_terminal and not console.is_dumb_terminal and not options.as_json
        self._is_real = gguf is not None
        self._seconds = options.seconds or SHOW_S
        self._endpoints = {seller.name: LocalEndpoint(seller.name, gguf, seller.manners) for seller in SELLERS}
        self._tally = Tally()
        self._broken: dict[str, Event] = {}
        self._healed_s: dict[str, float] = {}
        self._events: list[str] = []
        self._stop = asyncio.Event()
        self._began_s = 0.0

    async def run(self) -> int:
        """Start everything, play the script, add up, and stay if asked to."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._stop.set)
        what = "SmolLM2-135M on llama.cpp, one thread each" if self._is_real else "simulated, no model"
        self._say(f"Starting {len(SELLERS)} endpoints of one model ({what}).")
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.TaskGroup() as group:
                for endpoint in self._endpoints.values():
                    stack.push_async_callback(endpoint.stop)
                    group.create_task(endpoint.start())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="providerrank-demo-")))
            config = write_config(folder, SELLERS, {name: e.base_url for name, e in self._endpoints.items()})
            gateway = await stack.enter_async_context(DemoGateway.opened(config))
            about = {"Gateway": gateway.base_url, "Page": f"{gateway.admin_url}/", "Configuration": str(config)}
            self._say(*(f"{name + ':':15}{value}" for name, value in about.items()))
            summary = await self._play(gateway)
            if self._options.market is not None and not self._stop.is_set():
                if not self._options.as_json:
                    self._say("", *format_summary(summary))
                summary = msgspec.structs.replace(
                    summary, market=await self._mine(gateway, self._options.market, folder)
                )
                self._report_market(summary)
            else:
                self._report(summary)
            if self._options.seconds is None and not self._options.as_json and not self._stop.is_set():
                self._invite(gateway)
                await self._stop.wait()
        is_sound = summary.market is None or summary.market.is_sound
        return 0 if summary.requests and not summary.client_visible_failures and is_sound else 1

    async def _play(self, gateway: DemoGateway) -> Summary:
        """The show itself."""
        from providerrank.apps.demo.traffic import Traffic  # loads the openai SDK, a second of imports

        traffic = Traffic(gateway.base_url, MODEL, self._tally, random.Random(SEED), time.monotonic)
        self._began_s = time.monotonic()
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(traffic.run(over))
            screen = group.create_task(self._draw(gateway, over))
            script = group.create_task(self._follow_script(gateway))
            await _first(self._stop.wait, lambda: asyncio.sleep(self._seconds))
            script.cancel()
            over.set()
            await screen
        await traffic.close()
        return compute_summary(
            real_model=self._is_real,
            seconds=self._elapsed_s(),
            tally=self._tally,
            counters=gateway.get_counters(),
            prices={seller.endpoint_id: seller.price for seller in SELLERS},
            events=self._events,
        )

    async def _mine(self, gateway: DemoGateway, act: market.Act, folder: Path) -> market.MarketSummary:
        """The second act."""
        self._say(
            "",
            f"The market: {len(market.MINERS)} miners measure these endpoints, {len(market.VALIDATORS)} validators "
            "replay, on a chain of this machine.",
        )
        urls = {name: endpoint.base_url for name, endpoint in self._endpoints.items()}
        epochs: list[market.Epoch] = []
        playing = asyncio.ensure_future(market.play(act, SELLERS, urls, folder, gateway.publisher, self._say, epochs))
        await _first(self._stop.wait, lambda: asyncio.wait([playing]))
        is_interrupted = not playing.done()
        if is_interrupted:
            playing.cancel()
            await asyncio.wait([playing])
        else:
            playing.result()
        return market.MarketSummary(
            liar=market.LIAR,
            caught_in_epoch=market.find_caught(epochs),
            epochs=epochs,
            evidence=await gateway.get_evidence(),
            interrupted=is_interrupted,
        )

    def _report_market(self, summary: Summary) -> None:
        mined = summary.market
        if self._options.as_json or mined is None:
            self._report(summary)
            return
        self._say("", *market.format_end(mined))

    def _say(self, *lines: str) -> None:
        """Write lines as they are."""
        self._console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    async def _follow_script(self, gateway: DemoGateway) -> None:
        """Break and mend endpoints at their times."""
        for cue in compute_cues(self._seconds):
            await asyncio.sleep(max(0.0, cue.at_s - self._elapsed_s()))
            await (self._break(gateway, cue) if cue.is_begin else self._mend(cue))

    async def _break(self, gateway: DemoGateway, cue: Cue) -> None:
        name = choose_victim(gateway.get_names_by_rank(), list(self._broken))
        if name is None:
            return
        self._broken[name] = cue.event
        self._healed_s.pop(name, None)
        self._note(f"{name} leads, and {SENTENCES[cue.event.mishap]}")
        endpoint = self._endpoints[name]
        if cue.event.mishap is Mishap.KILLED:
            await endpoint.kill()
        else:
            await endpoint.behave(msgspec.structs.replace(endpoint.manners, play=PLAYS[cue.event.mishap]))

    async def _mend(self, cue: Cue) -> None:
        name = next((name for name, event in self._broken.items() if event is cue.event), None)
        if name is None:
            return
        endpoint = self._endpoints[name]
        if cue.event.mishap is Mishap.KILLED:
            await endpoint.start()
        else:
            await endpoint.behave(msgspec.structs.replace(endpoint.manners, play=None))
        del self._broken[name]
        self._healed_s[name] = self._elapsed_s()
        self._note(f"{name} is well again")

    def _note(self, sentence: str) -> None:
        line = f"{self._elapsed_s():5.1f} s  {sentence}"
        self._events.append(line)
        if not self._is_live:
            self._say(line)

    def _get_doing(self, name: str) -> str:
        if name in self._broken:
            return self._broken[name].mishap.value
        healed_s = self._healed_s.get(name)
        return "recovering" if healed_s is not None and self._elapsed_s() - healed_s < RECOVERING_S else ""

    def _get_rows(self, gateway: DemoGateway) -> list[Row]:
        return gateway.get_rows(self._get_doing)

    async def _draw(self, gateway: DemoGateway, over: asyncio.Event) -> None:
        """Keep the screen up to date until the show is over."""

        def get_status() -> str:
            return format_status(self._tally, gateway.get_counters(), self._elapsed_s(), self._seconds)

        if not self._is_live:
            every_s = min(LOG_EVERY_S, self._seconds / 4)
            while not over.is_set():
                await _first(over.wait, lambda: asyncio.sleep(every_s))
                self._say(get_status(), *map(format_row, self._get_rows(gateway)))
            return
        title = f"Endpoints of {MODEL}, best first"
        with Live(console=self._console, auto_refresh=False) as live:
            while not over.is_set():
                frame = render_frame(render_table(self._get_rows(gateway), title), get_status(), self._events)
                live.update(frame, refresh=True)
                await _first(over.wait, lambda: asyncio.sleep(1 / FRAMES_PER_S))

    def _report(self, summary: Summary) -> None:
        if self._options.as_json:
            print(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode())
            return
        self._say("", *format_summary(summary))

    def _invite(self, gateway: DemoGateway) -> None:
        self._say(
            "",
            "The gateway stays up until Ctrl-C. Try it:",
            f"  curl -N {gateway.base_url}/chat/completions -H 'Content-Type: application/json' \\",
            f'    -d \'{{"model":"{MODEL}","stream":true,"messages":[{{"role":"user","content":"Hello!"}}]}}\'',
            f"Its page: {gateway.admin_url}/",
        )


async def _first(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return when the first of the waits is over, and end the others."""
    tasks = [asyncio.ensure_future(wait()) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
