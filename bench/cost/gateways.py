"""The gateways: how each is found, installed by who has not, and started for this measurement.

All do the same for a plain request: one of three upstreams answers it. For a failover the first upstream they are
given always fails and the others answer. Logs are off, one worker each; those with keys of their own check ours.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cost.asking import HOST, MODEL, Route
from bench.cost.processes import find_port

OURS = "providerrank"


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Ports of the upstream process, by what they do."""

    ok: tuple[int, int, int]
    dead: int
    flaky: int


@dataclass(frozen=True, slots=True)
class Bed:
    """What a gateway is set up with."""

    folder: Path
    """Its own, empty."""
    upstreams: Upstreams
    key: str
    """What its clients show."""
    taken: set[int]

    def find_port(self) -> int:
        return find_port(self.taken)

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True, slots=True)
class Setup:
    """A gateway ready to be started, and where it is asked."""

    command: Sequence[str]
    plain: Route
    failover: Route
    """The first upstream is the dead one."""
    flaky: Route | None = None
    """The first upstream fails now and then: only of gateways that learn to avoid a dead one."""
    environ: Mapping[str, str] = field(default_factory=dict)
    start_limit_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """One of the gateways that can be compared."""

    name: str
    install: str
    """How to get it."""
    set_up: Callable[[str, Bed], Setup]
    """From the path of the program."""
    program: str | None
    """Its name on PATH; None: it must be told."""

    def find(self, told: str | None) -> str | None:
        """The program's path: as told, as the environment has it (``BENCH_ENVOY``), or on PATH."""
        wanted = told or os.environ.get(f"BENCH_{self.name.upper()}") or self.program
        if wanted is None:
            return None
        found = shutil.which(wanted)
        if found is None and Path(wanted).is_file():
            found = wanted
        return None if found is None else os.path.abspath(found)  # noqa: PTH100 - a venv's links must stay


def url(port: int) -> str:
    return f"http://{HOST}:{port}/v1"


def set_up_ours(program: str, bed: Bed) -> Setup:
    """Everything on, as by default: ranking, sessions, metrics, the store."""
    port, up = bed.find_port(), bed.upstreams
    pools = {MODEL: up.ok, "dead-first": (up.dead, *up.ok[:2]), "flaky-first": (up.flaky, *up.ok[:2])}
    lines = [
        "[gateway]",
        f'listen = "{HOST}:{port}"',
        f'admin = "{HOST}:{bed.find_port()}"',
        'keys = ["env:BENCH_KEY"]',
        "[buyer]",
        "price_cap = { input = 1.0, output = 2.0 }",
    ]
    for model, ports in pools.items():
        ids = [f"p{at}/{model}" for at in range(len(ports))]
        for endpoint_id, upstream in zip(ids, ports, strict=True):
            lines += [
                "[[endpoints]]",
                f'id = "{endpoint_id}"',
                f'model = "{model}"',
                f'base_url = "{url(upstream)}"',
                'upstream_model = "gpt-4o-mini"',
                "price = { input = 0.15, output = 0.60 }",
            ]
        if model != MODEL:
            lines += ["[[models]]", f'id = "{model}"', f"pin = {ids}"]
    config = bed.write("providerrank.toml", "\n".join(lines) + "\n")
    return Setup(
        [program, "serve", "-c", config],
        plain=Route(port),
        failover=Route(port, "dead-first"),
        flaky=Route(port, "flaky-first"),
        environ={"BENCH_KEY": bed.key},
    )


def get_ours() -> Gateway:
    beside = Path(sys.executable).with_name(OURS)
    program = str(beside) if beside.exists() else OURS
    return Gateway(OURS, "make bench installs it", set_up_ours, program)
