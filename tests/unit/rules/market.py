"""A small market to route in: a helper for the tests of the routing rules."""

from __future__ import annotations

import random

from providerrank.rules.ask import Ask, Preferences
from providerrank.rules.catalog import Buyer, Catalog, ModelRules, Tier
from providerrank.rules.cells import ASSUMED_FEATURES, Endpoint, Price
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS, Params
from providerrank.rules.plan import Plan
from providerrank.rules.ranking import Ranked, Weights
from providerrank.rules.router import Router
from providerrank.rules.sight import Looks

T = 1_790_000_000_000_000
S = 1_000_000
CAP = Price.from_usd(2.0, 6.0)


def endpoint(
    name: str,
    usd: float = 1.0,
    *,
    model: str = "m",
    context: int | None = None,
    features: frozenset[str] = ASSUMED_FEATURES,
) -> Endpoint:
    """``name/model`` at ``usd`` in and three times that out."""
    return Endpoint(f"{name}/{model}", model, Price.from_usd(usd, 3 * usd), context, features)


class Market:
    """A router, a clock and short words for what happens."""

    def __init__(
        self,
        *endpoints: Endpoint,
        cap: Price | None = CAP,
        models: tuple[ModelRules, ...] = (),
        tiers: tuple[Tier, ...] = (),
        exploration: float = 0.0,
        params: Params = PARAMS,
        seed: int = 0,
        looks: Looks | None = None,
    ) -> None:
        buyer = Buyer(price_cap=cap, exploration=exploration)
        self.router = Router(Catalog(endpoints, models, buyer, tiers), random.Random(seed), params, looks=looks)
        self.now = T

    def see(
        self,
        name: str,
        outcome: Outcome = Outcome.SUCCESS,
        *,
        times: int = 1,
        ms: int | None = 300,
        gap_s: float = 0.1,
        session: str | None = None,
        task: str = "chat",
        billed: int | None = None,
    ) -> None:
        """Observe the same thing some times, ``gap_s`` apart."""
        for _ in range(times):
            self.now += round(gap_s * S)
            ttft = ms * 1000 if ms is not None and outcome in {Outcome.SUCCESS, Outcome.SCHEMA_VIOLATION} else None
            total = None if ttft is None else ttft + S
            self.router.observe(
                Observation(self.id(name), task, self.now, outcome, ttft, total, 100, 100, billed), session
            )

    def fail(self, name: str, times: int = 1, session: str | None = None) -> None:
        self.see(name, Outcome.FAILURE, times=times, session=session)

    def id(self, name: str) -> str:
        return name if "/" in name else f"{name}/m"

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * S)

    def plan(self, model: str = "m", *, preferences: Preferences | None = None, **ask: object) -> Plan:
        return self.router.plan(Ask(model, preferences=preferences, **ask), self.now)  # type: ignore[arg-type]  # fields by name

    def walk(self, model: str = "m", *, preferences: Preferences | None = None, **ask: object) -> list[str]:
        """Everyone a request would be offered, in order, as if each failed for reasons of its own."""
        plan = self.plan(model, preferences=preferences, **ask)
        seen: list[str] = []
        while True:
            chosen = plan.next(self.now)
            if chosen is not None:
                seen.append(chosen.id.removesuffix("/m"))
            elif not plan.advance(self.now):
                return seen


def row(market: Market, name: str, session: str | None = None, task: str = "chat", tier: str | None = None) -> Ranked:
    """How the ranking shows one endpoint."""
    ranking = market.router.ranking("m", market.now, task, tier, session)
    return next(r for r in ranking.rows if r.endpoint.id == f"{name}/m")


def three() -> Market:
    """Three endpoints, well apart in price, all measured alike."""
    market = Market(endpoint("a", 0.2), endpoint("b", 0.8), endpoint("c", 1.2))
    for name in "abc":
        market.see(name, times=30)
    return market


def tiered() -> Market:
    tiers = (
        Tier("high", min_reputation=0.85, weights=Weights(0.9, 0.1), price_cap_factor=2.0),
        Tier("best-effort", weights=Weights(0.2, 0.8)),
    )
    market = Market(endpoint("slow", 0.3), endpoint("good", 1.0), endpoint("best", 3.0), tiers=tiers)
    market.see("slow", times=50, ms=3_000)
    market.see("good", times=50, ms=360)
    market.see("best", times=50, ms=250)
    return market
