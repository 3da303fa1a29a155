"""The gateway's tests run on the event loop it is served on; everything else on asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

ASYNCIO: LoopFactories = {"asyncio": asyncio.new_event_loop}
UVLOOP: LoopFactories = {"uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories:
    del config
    match item.path.name:
        case "test_gateway_tls.py":
            return {**ASYNCIO, **UVLOOP}  # simulated endpoints take TLS in a way that each loop must bear
        case name if name.startswith("test_gateway_"):
            return UVLOOP
        case _:
            return ASYNCIO
