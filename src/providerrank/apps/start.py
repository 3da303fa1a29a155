"""Starts the gateway as a process of its own: configuration, logging, event loop."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import uvloop

from providerrank.apps import config, serve

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def start(path: Path | None) -> int:
    """Serve until told to stop; raises ``ConfigRefused`` before anything listens."""
    loaded = config.load(config.find_path(path))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=LOG_FORMAT)
    # A server inside ours: its starts and stops are ours to tell.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve.run(loaded))
    return 0
