"""Run a scenario as a process: ``python -m providerrank.sim.provider --scenario FILE``.

Prints one line for each endpoint (name, a tab, base URL) and then ``ready``, and serves until SIGINT or SIGTERM.
Exit codes: 0 stopped, 1 a port is taken, 2 the scenario is wrong (every mistake on standard error).
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from providerrank.sim.faults import SENTENCES
from providerrank.sim.providers import SimProviders
from providerrank.sim.scenario import Scenario, ScenarioError, load_scenario

__all__ = ["SimProviders", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and serve; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m providerrank.sim.provider",
        description="Serve simulated OpenAI-compatible provider endpoints.",
        epilog="example: python -m providerrank.sim.provider --scenario examples/scenario.toml",
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--scenario", metavar="FILE", help="the scenario (TOML) to play")
    chosen.add_argument("--faults", action="store_true", help="list the faults a scenario can name, and stop")
    options = parser.parse_args(arguments)
    if options.faults:
        for fault, sentence in SENTENCES.items():
            sys.stdout.write(f"{fault.value:22} {sentence}\n")
        return 0
    try:
        scenario = load_scenario(options.scenario)
    except (ScenarioError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        run(serve(scenario))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def serve(scenario: Scenario) -> None:
    """Serve a scenario until the process is told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with SimProviders(scenario.endpoints, seed=scenario.seed) as sims:
        for name, url in sims.urls.items():
            sys.stdout.write(f"{name}\t{url}\n")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stop.wait()


def run(coroutine: Coroutine[Any, Any, None]) -> None:  # what a coroutine yields to the loop is the loop's affair
    """Run a coroutine on uvloop where it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(coroutine)
    else:
        uvloop.run(coroutine)


if __name__ == "__main__":
    sys.exit(main())
