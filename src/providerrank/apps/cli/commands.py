"""The command line: what can be asked of `providerrank`.

One small module for each group of commands, imported only when one of them runs. A command returns its
exit code: 0 done, 1 refused or failed; 2 is the parser's, for a command line it cannot read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches

from cyclopts import App

from providerrank.apps.failures import USAGE, get_exit_code
from providerrank.apps.version import VERSION

COMMANDS = {
    "init": ("providerrank.apps.cli.init", "Write a commented configuration with a first endpoint."),
    "check": ("providerrank.apps.cli.check", "Report every mistake of a configuration at once."),
    "doctor": ("providerrank.apps.cli.doctor", "Reach each endpoint, check what it can do, and say what to fix."),
    "serve": ("providerrank.apps.cli.serve", "Run the gateway."),
    "rank": ("providerrank.apps.cli.rank", "Show the endpoints of a model as the gateway ranks them."),
    "explain": ("providerrank.apps.cli.explain", "Show what the gateway did with one request, and why."),
    "bundle": ("providerrank.apps.cli.bundle", "Check a miner's submission offline."),
    "miner": ("providerrank.apps.cli.miner", "Measure endpoints, forecast them, and submit what was found."),
    "validator": ("providerrank.apps.cli.validator", "Replay what miners claim, judge it, and set weights."),
    "usage": ("providerrank.apps.cli.usage", "Show what each key has used today, and what it has left."),
    "sim": ("providerrank.apps.cli.sim", "Simulate the market and its attackers, in virtual time."),
    "demo": ("providerrank.apps.cli.demo", "Break real endpoints of one real model one by one, and watch."),
    "chain": ("providerrank.apps.cli.chain", "Make a chain on this machine, and look at it."),
}
"""Where each command is, and what it does: known here, so that listing them imports none."""

HELP = (
    """Usage: providerrank COMMAND

Rank the provider endpoints that serve one model, and route by the ranking.

"""
    + "\n".join(f"  {command:<9} {summary}" for command, (_, summary) in COMMANDS.items())
    + """

`providerrank COMMAND --help` shows a command's options, with an example. `providerrank --version` is there too.
"""
)

app = App(name="providerrank", help=HELP, version=VERSION, result_action="return_value")

for _command, (_module, _) in COMMANDS.items():
    app.command(f"{_module}:{_command}", name=_command)


@app.default
def _nothing() -> int:
    """Say what there is to ask."""
    sys.stderr.write(HELP)
    return USAGE


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    if list(arguments) in (["--help"], ["-h"]):
        # Of its own, since the library would import each command to ask what it does.
        sys.stdout.write(HELP)
        return 0
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        near = get_close_matches(arguments[0], COMMANDS, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}."
        sys.stderr.write(f"providerrank: no command {arguments[0]!r}: {meant}\n")
        return USAGE
    return get_exit_code(lambda: app(list(arguments)))
