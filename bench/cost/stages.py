"""What is measured: each stage on each gateway in turn, so that what disturbs the machine disturbs them alike.

In a repetition all gateways are started, each timed alone; then each stage goes round all of them, those not asked
being idle; at last their memory is read and they end. The next repetition starts them anew.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cost.asking import Pace, Route
from bench.cost.gateways import Bed, Gateway, Setup
from bench.cost.load import Seen, ask
from bench.cost.processes import NotStarted, Process, read_json

DIRECT = "direct"
"""The upstream itself: what is left without a gateway."""

WARM_S = 1.0

Figures = dict[str, float]
"""What one repetition found of one gateway, by name (see `report`)."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Some load, and how to name what it finds."""

    name: str
    connections: int
    pace: Pace | None = None
    route: str = "plain"
    """Which route of the gateway's `Setup`."""
    has_direct: bool = False
    """The upstream is asked the same without a gateway."""
    beside_plain: bool = False
    """In turn with plain requests, a second each: its figure is computed from the difference of the two."""


BUSY = Stage("busy", 32)
ALONE = Stage("alone", 1, has_direct=True)
FAILOVER = Stage("failover", 32, route="failover")
FLAKY = Stage("flaky", 32, route="flaky", beside_plain=True)
BURST = Stage("burst", 16, Pace(events=100, gap_ms=0))
PACED = Stage("paced", 4, Pace(events=20, gap_ms=20), has_direct=True)
STAGES = (BUSY, ALONE, FAILOVER, FLAKY, BURST, PACED)


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that has answered."""

    gateway: Gateway
    setup: Setup
    process: Process
    figures: Figures


@dataclass(frozen=True, slots=True)
class Spent:
    """What some load cost a gateway, and what reached the upstream."""

    seen: Seen
    cpu_s: float
    ok: int
    failed: int


@dataclass(frozen=True, slots=True)
class Ground:
    """What a repetition is made on."""

    folder: Path
    gateway_core: int
    seconds: float
    key: str
    bed: Bed
    """Of the upstream, already running."""


def repeat(ground: Ground, programs: list[tuple[Gateway, str]], lost: dict[str, str]) -> dict[str, Figures]:
    """One repetition; a gateway that fails is put into ``lost`` with the reason, and the others go on."""
    found: dict[str, Figures] = {DIRECT: {}}
    with contextlib.ExitStack() as stack:
        running: list[Running] = []
        for gateway, program in programs:
            if gateway.name not in lost:
                with _losing(gateway.name, lost):
                    one = _start(ground, gateway, program, stack)
                    running.append(one)
                    found[gateway.name] = one.figures
        for one in running:
            with _losing(one.gateway.name, lost):
                ask(one.setup.plain, ground.key, BUSY.connections, WARM_S)
                ask(one.setup.plain, ground.key, BURST.connections, WARM_S, BURST.pace)
                one.process.await_quiet()
        for stage in STAGES:
            if stage.has_direct:
                direct = Route(ground.bed.upstreams.ok[0])
                _note(found[DIRECT], stage, ask(direct, ground.key, stage.connections, ground.seconds, stage.pace))
            for one in running:
                if one.gateway.name not in lost:
                    with _losing(one.gateway.name, lost):
                        _measure(ground, one, stage)
        for one in running:
            memory = one.process.read_memory()
            one.figures["rss_mb"], one.figures["pss_mb"] = memory.rss, memory.pss
    return {name: figures for name, figures in found.items() if name not in lost}


def _start(ground: Ground, gateway: Gateway, program: str, stack: contextlib.ExitStack) -> Running:
    folder = ground.folder / gateway.name
    folder.mkdir()
    setup = gateway.set_up(program, Bed(folder, ground.bed.upstreams, ground.key, ground.bed.taken))
    process = Process(setup.command, folder, setup.environ, ground.gateway_core)
    stack.callback(process.stop)
    start_s = process.await_answer(setup.plain, ground.key, setup.start_limit_s)
    process.await_quiet()
    return Running(gateway, setup, process, {"start_s": start_s})


def _measure(ground: Ground, one: Running, stage: Stage) -> None:
    routes = {"plain": one.setup.plain, "failover": one.setup.failover, "flaky": one.setup.flaky}
    route = routes[stage.route]
    if route is None:
        return
    if stage.beside_plain:
        turns = max(1, round(ground.seconds))
        plain, spent = zip(
            *(
                (_spend(ground, one, BUSY, one.setup.plain, 1.0), _spend(ground, one, stage, route, 1.0))
                for _ in range(turns)
            ),
            strict=True,
        )
        _note_cost(one.figures, f"{stage.name}_plain", plain)
    else:
        spent = (_spend(ground, one, stage, route, ground.seconds),)
    _note_cost(one.figures, stage.name, spent)
    for each in spent:
        _note(one.figures, stage, each.seen)


def _spend(ground: Ground, one: Running, stage: Stage, route: Route, seconds: float) -> Spent:
    ok, failed = _read_counts(ground)
    cpu_s = one.process.read_cpu_s()
    seen = ask(route, ground.key, stage.connections, seconds, stage.pace)
    cpu_s = one.process.read_cpu_s() - cpu_s
    one.process.await_quiet()
    now_ok, now_failed = _read_counts(ground)
    if now_ok == ok or seen.answers == seen.failed:
        raise NotStarted(f"it gave no good answer in stage {stage.name}")
    return Spent(seen, cpu_s, now_ok - ok, now_failed - failed)


def _note_cost(figures: Figures, name: str, spent: Sequence[Spent]) -> None:
    cpu_s = sum(each.cpu_s for each in spent)
    # Milliseconds for one are seconds for a thousand.
    figures[f"{name}_cpu"] = 1e3 * cpu_s / sum(each.seen.units for each in spent)
    figures[f"{name}_core"] = 100 * cpu_s / sum(each.seen.seconds for each in spent)
    figures[f"{name}_failed_share"] = sum(each.failed for each in spent) / sum(each.ok for each in spent)


def _note(figures: Figures, stage: Stage, seen: Seen) -> None:
    figures[f"{stage.name}_ms"] = seen.median_ms
    figures[f"{stage.name}_first_ms"] = seen.first_ms
    figures[f"{stage.name}_per_s"] = seen.units / seen.seconds
    figures["lost"] = figures.get("lost", 0.0) + seen.failed


def _read_counts(ground: Ground) -> tuple[int, int]:
    counts = json.loads(read_json(ground.bed.upstreams.ok[0], "/counts"))
    return counts["ok"], counts["failed"]


@contextlib.contextmanager
def _losing(name: str, lost: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, NotStarted, TimeoutError, ExceptionGroup, subprocess.SubprocessError) as error:
        lost[name] = str(error) or type(error).__name__
