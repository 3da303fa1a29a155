"""The command line: what can be asked of `providerrank`.

One small module for each group of commands, imported only when one of them runs. A command returns its
exit code: 0 done, 1 refused or failed; 2 is the parser's, for a command line it cannot read.
"""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App

from providerrank.apps.failures import USAGE, get_exit_code
from providerrank.apps.version import VERSION

COMMANDS = {
    "init": "providerrank.apps.cli_init",
    "check": "providerrank.apps.cli_check",
    "serve": "providerrank.apps.cli_serve",
    "demo": "providerrank.apps.cli_demo",
    "rank": "providerrank.apps.cli_rank",
    "doctor": "providerrank.apps.cli_doctor",
}

app = App(
    name="providerrank",
    help="Rank the provider endpoints that serve one model, and route by the ranking.",
    version=VERSION,
    result_action="return_value",
)

for _command, _module in COMMANDS.items():
    app.command(f"{_module}:{_command}", name=_command)


@app.default
def _nothing() -> int:
    """Say what there is to ask."""
    app.help_print([])
    return USAGE


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    return get_exit_code(lambda: app(list(arguments)))
