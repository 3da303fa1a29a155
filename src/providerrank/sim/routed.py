"""The rules' router as a policy of the simulation: what the gateway asks it, asked in virtual time."""

from __future__ import annotations

import random
from dataclasses import dataclass

from providerrank.rules.ask import Ask
from providerrank.rules.catalog import Buyer, Catalog
from providerrank.rules.cells import CHAT
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS, Params
from providerrank.rules.plan import Plan
from providerrank.rules.router import Router
from providerrank.sim.virtual import Walk
from providerrank.sim.worlds import World


@dataclass(slots=True)
class _PlanWalk:
    """A plan, by position instead of endpoint."""

    plan: Plan
    positions: dict[str, int]

    def next(self, now_us: int) -> int | None:
        endpoint = self.plan.next(now_us)
        while endpoint is None and self.plan.advance(now_us):
            endpoint = self.plan.next(now_us)
        if endpoint is None:
            endpoint = self.plan.last_resort(now_us)
        return None if endpoint is None else self.positions[endpoint.id]

    def more(self, now_us: int) -> bool:
        return self.plan.more(now_us)


class Routed:
    """A router with no history but what it sees here."""

    def __init__(self, world: World, rng: random.Random, params: Params = PARAMS) -> None:
        self._ids = [track.endpoint_id for track in world.tracks]
        self._positions = {endpoint_id: i for i, endpoint_id in enumerate(self._ids)}
        self._ask = Ask(world.model, input_tokens=world.input_tokens)
        buyer = Buyer(world.cap, exploration=params.exploration_floor)
        self.router = Router(Catalog(world.endpoints(), (), buyer, ()), rng, params)

    def start(self, now_us: int) -> Walk:
        """Ask for a plan."""
        return _PlanWalk(self.router.plan(self._ask, now_us), self._positions)

    def begun(self, endpoint: int) -> None:
        """Count it in flight."""
        self.router.acquire(self._ids[endpoint])

    def ended(self, endpoint: int, *, is_success: bool, ttft_us: int | None, total_us: int, now_us: int) -> None:
        """Report it as the gateway does."""
        endpoint_id = self._ids[endpoint]
        self.router.release(endpoint_id)
        outcome = Outcome.SUCCESS if is_success else Outcome.FAILURE
        self.router.observe(Observation(endpoint_id, CHAT, now_us, outcome, ttft_us, total_us))

    def first_token_us(self, endpoint: int) -> int | None:
        """The router's adaptive clock."""
        return self.router.first_token_us(self._ids[endpoint], CHAT)

    def reprice(self, world: World, hour: float) -> None:
        """Hand over the new prices."""
        self.router.reprice({track.endpoint_id: track.price.at(hour) for track in world.tracks})
