"""Where the command `providerrank` begins.

`serve` stays in memory for as long as it runs, so its plain form is read here: the parser of all
the other commands, and of `serve` with anything unusual, costs a tenth of the memory a gateway may take.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from providerrank.apps.failures import get_exit_code

CONFIG_OPTIONS = ("-c", "--config")


def main() -> None:
    """Run the command this process was started as, and exit with its code."""
    arguments = sys.argv[1:]
    if is_plain_serve(arguments):
        from providerrank.apps.start import start

        sys.exit(get_exit_code(lambda: start(Path(arguments[2]) if len(arguments) > 1 else None)))
    from providerrank.apps.cli.commands import run

    sys.exit(run(arguments))


def is_plain_serve(arguments: Sequence[str]) -> bool:
    """Whether this is `serve` or `serve -c FILE`, and nothing else."""
    match arguments:
        case ["serve"]:
            return True
        case ["serve", option, path]:
            return option in CONFIG_OPTIONS and not path.startswith("-")
        case _:
            return False
