"""What a router is built from: endpoints, rules per model, the buyer's wishes, tiers. Plain, valid values."""

from __future__ import annotations

from dataclasses import dataclass

from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import Weights


@dataclass(frozen=True, slots=True)
class Buyer:
    """Whose preferences rank the pool."""

    price_cap: Price | None = None
    """Most to pay, per million tokens; None: nothing is too dear."""
    weights: Weights = Weights()
    exploration: float = PARAMS.exploration_floor
    """Share of requests that pick by a sample once the pool is known, 0..1; 0 turns all sampling off."""
    verified_first: bool = False
    """Cells of which the market has verified nothing come after all others, and nothing is tried out."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A class of requests with a strategy of its own."""

    name: str
    min_reputation: float | None = None
    """Only endpoints of at least this reputation, 0..1; such a tier never explores."""
    weights: Weights | None = None
    """In place of the buyer's."""
    price_cap_factor: float = 1.0
    """Times the buyer's cap: above 1 accepts dearer endpoints."""


@dataclass(frozen=True, slots=True)
class ModelRules:
    """What the operator laid down for one model."""

    id: str
    aliases: tuple[str, ...] = ()
    pin: tuple[str, ...] = ()
    """Endpoint ids tried first, in this order."""
    pin_only: bool = False
    """No endpoint but the pinned ones."""
    fallback_models: tuple[str, ...] = ()
    """Models to go on with when every endpoint of this one is unavailable, in this order."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything a router knows before it has seen a request."""

    endpoints: tuple[Endpoint, ...]
    models: tuple[ModelRules, ...] = ()
    """A model that appears only in ``endpoints`` has default rules."""
    buyer: Buyer = Buyer()
    tiers: tuple[Tier, ...] = ()
