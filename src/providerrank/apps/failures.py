"""How a command ends: its exit code, and what its user reads when it fails. Nowhere is a traceback shown.

Expected failures are exceptions with one sentence. Whatever else goes wrong is our mistake, and says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

DONE = 0
FAILED = 1
"""Refused or failed."""
USAGE = 2
"""The command line makes no sense."""
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

DEBUG_VARIABLE = "PROVIDERRANK_DEBUG"
"""Set to anything: what is our mistake shows its traceback after all."""


class CommandFailed(Exception):
    """Refused or failed, for a reason that was to be expected; the message is one sentence with its remedy."""


def get_exit_code(command: Callable[[], object]) -> int:
    """Run a command that returns its exit code, or nothing when it is done; print how it failed if it did."""
    try:
        code = command()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left, as `head` does. Python flushes once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        print(_explain(error), file=sys.stderr)  # noqa: T201 - the last word of a command
        if os.environ.get(DEBUG_VARIABLE):
            raise
    else:
        return code if isinstance(code, int) else DONE
    return FAILED


def _explain(error: Exception) -> str:
    from providerrank.apps.config import ConfigRefused
    from providerrank.engines.errors import SandboxUnavailableError, StoreError
    from providerrank.market.errors import ChainError

    if isinstance(error, ConfigRefused):
        return str(error)
    if isinstance(error, CommandFailed | StoreError | SandboxUnavailableError | ChainError):
        return f"providerrank: {error}"
    return (
        f"providerrank: something unexpected happened ({type(error).__name__}: {error}). "
        f"This is our mistake: please report it, with what {DEBUG_VARIABLE}=1 shows."
    )
