"""What a request costs through this gateway and through others, on this machine.

    python -m bench.cost --peers nginx,envoy,litellm,portkey --reps 3

Each gateway has one core to itself, upstream and client share another, and all traffic stays on loopback. CPU is of
the gateway's whole process tree, as the kernel counts it. A peer that is not installed is named and left out.
`RESULTS.md` says what the stages are and how the figures are meant to be read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from bench.cost.asking import Route
from bench.cost.gateways import OURS, Bed, Gateway, Upstreams, get_ours
from bench.cost.load import find_wrk
from bench.cost.peers import PEERS
from bench.cost.processes import Process, find_port, read_steal
from bench.cost.report import Repetition, derive, format_bars, format_table
from bench.cost.stages import Figures, Ground, repeat
from bench.cost.upstream import DEAD, FLAKY, OK

ROOT = Path(__file__).parents[2]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=(__doc__ or "").split("\n", 1)[0])
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", default=",".join(names), help=f"of {', '.join(names)}; empty for none")
    parser.add_argument("--reps", type=int, default=3, help="repetitions (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each stage (default 4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to put the figures of each repetition")
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--gateway-core", type=int, default=cores[0])
    parser.add_argument("--load-core", type=int, default=cores[-1], help="of upstream and client")
    for gateway in (get_ours(), *PEERS):
        name = gateway.name
        parser.add_argument(
            f"--{name}", metavar="PATH", help=f"the program (or BENCH_{name.upper()}): {gateway.install}"
        )
    options = parser.parse_args()
    unknown = set(filter(None, options.peers.split(","))) - set(names)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.reps < 1 or options.seconds <= 0:
        parser.error("--reps and --seconds are above 0")
    return options


def find_programs(options: argparse.Namespace) -> tuple[list[tuple[Gateway, str]], dict[str, str]]:
    """Ours and the peers that were asked for, with their programs; and how to install those that are not there."""
    asked = options.peers.split(",")
    found: list[tuple[Gateway, str]] = []
    missing: dict[str, str] = {}
    for gateway in (get_ours(), *(peer for peer in PEERS if peer.name in asked)):
        program = gateway.find(getattr(options, gateway.name))
        if program is None:
            missing[gateway.name] = f"not installed: {gateway.install}"
        else:
            found.append((gateway, program))
    return found, missing


def measure(
    options: argparse.Namespace, programs: list[tuple[Gateway, str]], lost: dict[str, str]
) -> list[dict[str, Figures]]:
    """All repetitions, on one upstream."""
    taken: set[int] = set()
    up = Upstreams((find_port(taken), find_port(taken), find_port(taken)), find_port(taken), find_port(taken))
    roles = {**dict.fromkeys(up.ok, OK), up.dead: DEAD, up.flaky: FLAKY}
    key = f"sk-{secrets.token_hex(24)}"
    found: list[dict[str, Figures]] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cost-")))
        (folder / "upstream").mkdir()
        command = [sys.executable, "-m", "bench.cost.upstream", *(f"{port}={role}" for port, role in roles.items())]
        upstream = Process(command, folder / "upstream", {"PYTHONPATH": str(ROOT)}, options.load_core)
        stack.callback(upstream.stop)
        upstream.await_answer(Route(up.ok[0]), key, 10.0)
        for at in range(options.reps):
            print(f"repetition {at + 1} of {options.reps}", file=sys.stderr, flush=True)
            own = folder / str(at)
            own.mkdir()
            ground = Ground(own, options.gateway_core, options.seconds, key, Bed(own, up, key, taken))
            # Whoever is asked first finds the machine as the last stage left it: it is someone else each time.
            turn = at % len(programs)
            found.append(repeat(ground, programs[turn:] + programs[:turn], lost))
    order = [gateway.name for gateway, _ in programs]
    return [{name: one[name] for name in ("direct", *order) if name in one and name not in lost} for one in found]


def main() -> int:
    options = read_options()
    programs, lost = find_programs(options)
    for name, reason in lost.items():
        print(f"{name} is left out, {reason}", file=sys.stderr)
    missing = set(lost)
    # The client is this process.
    os.sched_setaffinity(0, {options.load_core})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stolen, ticks = read_steal()
    found = measure(options, programs, lost) if programs else []
    now_stolen, now_ticks = read_steal()
    repetitions: list[Repetition] = [derive(one) for one in found]
    if options.json is not None:
        options.json.write_text(json.dumps({"left_out": lost, "repetitions": repetitions}, indent=1) + "\n")
    if repetitions:
        print(format_table(repetitions))
    print(
        f"\n{options.reps} repetitions of {options.seconds:g} s a stage, "
        f"load by {'wrk' if find_wrk() else 'our own client'}, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"{100 * (now_stolen - stolen) / max(1, now_ticks - ticks):.1f} % of the CPU stolen by the host."
    )
    if options.gateway_core == options.load_core:
        print("Gateway and load had to share one core: the rates and times are not worth much.")
    for name, reason in lost.items():
        print(f"{name} is left out: {reason}")
    print("\n" + format_bars(repetitions))
    return 1 if OURS in lost or set(lost) - missing else 0


if __name__ == "__main__":
    sys.exit(main())
