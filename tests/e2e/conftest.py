"""Clients meet the gateway on the event loop it is served on; everything else runs on asyncio's own."""

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
    # Node.js connects anew the moment a request is aborted. asyncio (of Python 3.11) never closes a connection that
    # comes in as its server stops listening; uvloop does.
    return UVLOOP if item.path.name.endswith(("_sdk.py", "_apis.py", "_clients.py")) else ASYNCIO
