"""A router that shares what it learns with the routers of other processes.

What it sees itself it also puts aside, to be sent in batches; that an endpoint is cooling is told at once, since every
request that goes there meanwhile is refused. What the others tell is learned as if it had been seen here.
"""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import override

from providerrank.apps.workers.messages import Seen
from providerrank.rules.observation import Observation
from providerrank.rules.router import Router


class SharingRouter(Router):
    """One worker's."""

    _seen: Seen
    _on_cool: Callable[[str, int], object]

    def share(self, on_cool: Callable[[str, int], object]) -> None:
        """Begin to put aside what is seen, and to tell ``on_cool`` endpoint and deadline of what is cooled."""
        self._seen = []
        self._on_cool = on_cool

    def take_seen(self) -> Seen:
        """What was seen since the last call."""
        seen, self._seen = self._seen, []
        return seen

    @override
    def observe(self, obs: Observation, session: str | None = None) -> None:
        """Learn from an attempt of this process."""
        super().observe(obs, session)
        self._seen.append((obs, session))

    @override
    def cool(self, endpoint_id: str, until_us: int) -> None:
        """Do not use the endpoint before ``until_us``, here and elsewhere."""
        super().cool(endpoint_id, until_us)
        self._on_cool(endpoint_id, until_us)

    def learn(self, seen: Seen) -> None:
        """Learn from attempts of other processes."""
        for obs, session in seen:
            super().observe(obs, session)

    def cool_too(self, endpoint_id: str, until_us: int) -> None:
        """Another process was told not to use the endpoint before ``until_us``."""
        super().cool(endpoint_id, until_us)
