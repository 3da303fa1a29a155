"""What one request asks of the router, and the ways the router can refuse it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from providerrank.rules.cells import CHAT, NUSD_PER_USD, Endpoint, Price

if TYPE_CHECKING:
    from providerrank.rules.sight import Lane, Sight

Sort = Literal["price", "throughput", "latency"]


@dataclass(frozen=True, slots=True)
class Preferences:
    """OpenRouter's ``provider`` object. Entries match a provider's name or an endpoint's id, in any case."""

    order: tuple[str, ...] = ()
    """Tried first, in this order; then the rest, unless ``allow_fallbacks`` is off."""
    only: tuple[str, ...] = ()
    """Nothing but these; empty: no restriction."""
    ignore: tuple[str, ...] = ()
    """None of these."""
    sort: Sort | None = None
    """Replaces the ranking, and load balancing with it: cheapest, most tokens a second, or lowest TTFT first."""
    max_price: Price | None = None
    """Nothing dearer, each side for itself; a side of 0 is no limit."""
    allow_fallbacks: bool = True
    """False: with ``order`` only what it lists, without it only the first choice; never another model."""
    require_parameters: bool = False
    """Only endpoints that support every feature asked for, the optional ones too."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One request, as far as choosing an endpoint goes. A Struct for the reason that `observation` gives."""

    model: str
    fallback_models: tuple[str, ...] = ()
    """The request's own ``models``; empty: those of the model's rules."""
    task: str = CHAT
    tier: str | None = None
    session: str | None = None
    features: frozenset[str] = frozenset()
    input_tokens: int | None = None
    """Estimated prompt tokens; None: context limits exclude nobody."""
    output_tokens: int | None = None
    """The request's own limit on completion tokens."""
    preferences: Preferences | None = None
    price_cap: Price | None = None
    """Of whoever asks, beside the buyer's and the tier's: on each side the lowest holds."""
    allowed_models: frozenset[str] | None = None
    """Model ids that fallbacks are confined to; None: any. That ``model`` is one is for the caller to see to."""


class RoutingError(Exception):
    """The request cannot be routed; the message is one sentence fit for the client."""


class UnknownModel(RoutingError):
    """No model or alias of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"Unknown model {name!r}; known models: {', '.join(self.known)}.")


class UnknownTier(RoutingError):
    """No tier of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        listed = ", ".join(self.known) or "none"
        super().__init__(f"Unknown tier {name!r}; known tiers: {listed}.")


class EmptyPool(RoutingError):
    """Filters left no endpoint of the model.

    ``filters`` counts, per filter, the endpoints it keeps out (one may fall to several); ``nearest`` is the one that
    falls to the fewest, the cheapest of those, and ``nearest_filters`` which these are; ``cheapest`` is the
    lowest-cost price among those the price cap or ``max_price`` keeps out, None when neither does.
    """

    def __init__(
        self,
        model: str,
        filters: Mapping[str, int],
        nearest: Endpoint | None = None,
        nearest_filters: tuple[str, ...] = (),
        cheapest: Price | None = None,
    ) -> None:
        self.model = model
        self.filters = dict(filters)
        self.nearest = nearest
        self.nearest_filters = nearest_filters
        self.cheapest = cheapest
        self.lanes: tuple[Lane, ...] = ()
        self.sights: tuple[Sight, ...] = ()
        """What it was seen from, to explain it; of the model it is about."""
        counts = ", ".join(f"{name} excludes {count}" for name, count in self.filters.items())
        message = f"No endpoint of model {model!r} can serve this request: {counts or 'it has none'}"
        if nearest is not None:
            message += f"; nearest is {nearest.id} (excluded by {', '.join(nearest_filters)})"
        if cheapest is not None:
            usd = f"${cheapest.input_nusd / NUSD_PER_USD:g} in, ${cheapest.output_nusd / NUSD_PER_USD:g} out"
            message += f"; the cheapest price is {usd} per million tokens"
        super().__init__(message + ".")
