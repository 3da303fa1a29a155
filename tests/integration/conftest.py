"""The gateway's tests run on the event loop it is served on; those of its fault table on asyncio's own as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories | None:
    del config
    name = item.path.name
    if not name.startswith("test_gateway_"):
        return None
    if name == "test_gateway_faults.py":
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}
