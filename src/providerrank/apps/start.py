"""Starts the gateway as a process of its own: configuration, logging, event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import uvloop

from providerrank.apps import config, logs, serve


def start(path: Path | None) -> int:
    """Serve until told to stop; raises ``ConfigRefused`` before anything listens."""
    loaded = config.load(config.find_path(path))
    logs.configure(loaded.config.gateway.log, loaded.config.gateway.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve.run(loaded))
    return 0
