"""Starts the gateway as a process of its own: configuration, logging, event loop."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import uvloop

from providerrank.apps import config, logs, serve


def start(path: Path | None) -> int:
    """Serve until told to stop; raises ``ConfigRefused`` before anything listens."""
    loaded = config.load(config.find_path(path))
    allow_open_files()
    logs.configure(loaded.config.gateway.log, loaded.config.gateway.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve.run(loaded))
    return 0


def allow_open_files() -> None:
    """As many open files as this process may have: each connection is one, and shells often allow 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # where the system says no, the soft limit stays
