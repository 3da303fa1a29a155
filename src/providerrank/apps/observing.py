"""What is told of finished requests beside the metrics: their lines in the log, their traces.

For one gateway, so in each process that serves. All of it is off unless the configuration asks, and imported only then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable

from providerrank.apps.config import Loaded
from providerrank.apps.failures import CommandFailed
from providerrank.apps.version import VERSION
from providerrank.gateway.server import Gateway
from providerrank.gateway.settings import Upstream

logger = logging.getLogger("providerrank.observing")


@contextlib.asynccontextmanager
async def observing(gateway: Gateway, loaded: Loaded) -> AsyncIterator[None]:
    """Have the requests of a gateway logged and traced as configured, until the block ends.

    Raises ``CommandFailed`` where telemetry is asked for and its packages are missing.
    """
    ends: list[Callable[[], None]] = []
    table = loaded.config.gateway
    if table.log_requests and logger.isEnabledFor(logging.INFO):
        from providerrank.apps.logs import RequestLog

        requests = RequestLog(table.log)
        gateway.watch(requests.watch)
        ends.append(requests.close)
    if loaded.config.telemetry.otlp is not None:
        ends.append(_begin_telemetry(gateway, loaded, loaded.config.telemetry.otlp))
    try:
        yield
    finally:
        for end in ends:
            await asyncio.to_thread(end)


def _begin_telemetry(gateway: Gateway, loaded: Loaded, address: str) -> Callable[[], None]:
    from providerrank.engines.otlp import OtlpSettings, OtlpTelemetry, TelemetryMissingError
    from providerrank.gateway.tracing import Sampler

    table = loaded.config.telemetry
    headers = {name: loaded.reveal(secret) or "" for name, secret in table.headers.items()}
    settings = OtlpSettings(
        address,
        service=table.service,
        version=VERSION,
        headers=headers,
        traces=table.traces,
        metrics=table.metrics,
    )

    def get_upstream(endpoint_id: str) -> Upstream | None:
        target = gateway.targets.get(endpoint_id)
        return None if target is None else target.upstream

    try:
        telemetry = OtlpTelemetry(settings, get_upstream)
    except TelemetryMissingError as error:
        raise CommandFailed(str(error)) from None
    if table.traces:
        gateway.door.sampler = Sampler(table.sample, random.Random())
    gateway.watch(telemetry.watch)
    logger.info("telemetry=%s traces=%s metrics=%s", address, table.traces, table.metrics)
    return telemetry.close
