"""Several simulated endpoints in one process, under one clock.

    async with SimProviders([EndpointSpec(name="a"), EndpointSpec(name="b", success=0.9)]) as sims:
        sims["a"].url                            # http://127.0.0.1:40123/v1
        sims["b"].script([Fault.STATUS_500])     # its next request meets a 500
        await sims["a"].switch(Fault.RATE_LIMIT, for_s=5)
        await sims["a"].down(); await sims["a"].up()
        sims["b"].log.last.headers

Everything runs on the event loop of the caller. Chance is seeded: the same requests in the same order meet
the same faults.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from providerrank.sim.behaviour import Behaviour
from providerrank.sim.endpoint import SimEndpoint
from providerrank.sim.spec import EndpointSpec, Event


class SimProviders:
    """Endpoints by name, as a context manager."""

    def __init__(
        self,
        specs: Sequence[EndpointSpec],
        behaviours: Mapping[str, Behaviour] | None = None,
        seed: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``behaviours`` replace what the specs say of speed and success; ``tls`` serves the specs that want it."""
        behaviours = behaviours or {}
        unknown = sorted(set(behaviours) - {spec.name for spec in specs})
        if unknown:
            raise ValueError(f"behaviours for endpoints that are not there: {', '.join(unknown)}")
        self._started_s = 0.0
        self._timers: list[asyncio.TimerHandle] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._endpoints: dict[str, SimEndpoint] = {}
        for spec in specs:
            if spec.name in self._endpoints:
                raise ValueError(f"two endpoints are named {spec.name!r}")
            rng = random.Random(f"{seed}/{spec.name}")
            self._endpoints[spec.name] = SimEndpoint(spec, self.now_s, behaviours.get(spec.name), rng, tls)

    def now_s(self) -> float:
        """Return seconds since the world's clock was started."""
        return asyncio.get_running_loop().time() - self._started_s

    async def start(self) -> None:
        """Listen on every port, then start the clock."""
        for endpoint in self._endpoints.values():
            await endpoint.start()
        self.restart_clock()

    def restart_clock(self) -> None:
        """Begin at 0 s again: behaviours and timelines start over. What is switched or scripted stays."""
        loop = asyncio.get_running_loop()
        self._started_s = loop.time()
        for timer in self._timers:
            timer.cancel()
        self._timers = [
            loop.call_later(event.at, self._happen, endpoint, event)
            for endpoint in self._endpoints.values()
            for event in endpoint.spec.timeline
        ]

    def _happen(self, endpoint: SimEndpoint, event: Event) -> None:
        task = asyncio.get_running_loop().create_task(endpoint.apply(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Reset every connection and give the ports back."""
        for timer in self._timers:
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        for endpoint in self._endpoints.values():
            endpoint.stop()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __getitem__(self, name: str) -> SimEndpoint:
        return self._endpoints[name]

    def __iter__(self) -> Iterator[SimEndpoint]:
        return iter(self._endpoints.values())

    def __len__(self) -> int:
        return len(self._endpoints)

    @property
    def urls(self) -> dict[str, str]:
        """Base URLs by endpoint name."""
        return {endpoint.name: endpoint.url for endpoint in self}
