"""Who may serve one request: the filters, and which of them emptied a pool.

Each filter has a name, fixed for messages and pages: ``only``, ``ignore``, ``features``, ``context``, ``price_cap``,
``max_price``, ``min_reputation``, ``pin_only``. They only exclude; order is the plan's business.
"""

from __future__ import annotations

from collections import Counter

from providerrank.rules.ask import Ask, EmptyPool, Preferences
from providerrank.rules.board import Board
from providerrank.rules.catalog import ModelRules
from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.state import EndpointState, Standing
from providerrank.rules.verified import VERIFIED_MIN_REQUESTS

OPTIONAL_FEATURES = frozenset({"logprobs"})
"""Asked for but not vital: an endpoint without them may serve unless the request says ``require_parameters``."""

MAX_NAMES_LENGTH = 1_000
"""Characters of all names in a pool that is kept to explain a request."""


def get_names(entries: tuple[str, ...]) -> frozenset[str]:
    """Entries of a preference as they are matched: letters of either case are alike."""
    return frozenset(entry.lower() for entry in entries)


def is_named(state: EndpointState, names: frozenset[str]) -> bool:
    """Whether its provider or its full id is among ``names``."""
    return state.names[0] in names or state.names[1] in names


class Pool:
    """The filters of one request at one model; narrowed by what endpoints refuse."""

    __slots__ = (
        "context",
        "features",
        "ignore",
        "max_price",
        "min_reputation",
        "only",
        "pins",
        "proven_only",
        "unproven_requests",
        "verified_only",
    )

    def __init__(self, ask: Ask, rules: ModelRules, min_reputation: float | None, unproven_requests: float) -> None:
        preferences = ask.preferences or Preferences()
        self.features = ask.features if preferences.require_parameters else ask.features - OPTIONAL_FEATURES
        self.context = get_needed_context(ask)
        self.only = get_names(preferences.only)
        if preferences.order and not preferences.allow_fallbacks:
            order = get_names(preferences.order)
            self.only = self.only or order
        self.ignore = get_names(preferences.ignore)
        self.max_price = preferences.max_price
        self.min_reputation = min_reputation
        self.unproven_requests = unproven_requests
        self.pins = frozenset(rules.pin) if rules.pin_only else None
        self.proven_only = False
        """While set, the unproven are kept out too."""
        self.verified_only = False
        """While set, so are those of which the market has found nothing."""

    def is_short(self) -> bool:
        """Whether it is small enough to be kept with each of thousands of requests: names come from clients."""
        return sum(map(len, self.only)) + sum(map(len, self.ignore)) <= MAX_NAMES_LENGTH

    def admits(self, standing: Standing) -> bool:
        """Whether the endpoint passes every filter but the price cap, which the board has applied."""
        state = standing.state
        endpoint = state.endpoint
        return (
            self.features <= endpoint.features
            and (endpoint.context_window is None or self.context <= endpoint.context_window)
            and (not self.only or is_named(state, self.only))
            and not (self.ignore and is_named(state, self.ignore))
            and (self.max_price is None or is_within(endpoint.price, self.max_price))
            and (self.pins is None or state.id in self.pins)
            and (self.is_reputable(standing) or self.is_unproven(standing))
            and (not self.verified_only or is_verified(standing))
        )

    def is_reputable(self, standing: Standing) -> bool:
        """Whether it meets the tier's bar."""
        return self.min_reputation is None or standing.reputation >= self.min_reputation

    def is_unproven(self, standing: Standing) -> bool:
        """Whether too little is known to hold the bar against it."""
        return not self.proven_only and standing.cell.evidence < self.unproven_requests

    def get_failed(self, standing: Standing, over_cap: bool) -> tuple[str, ...]:
        """The names of every filter that keeps it out."""
        is_barred = not self.is_reputable(standing) and not self.is_unproven(standing)
        return self.get_failed_by(standing.state.endpoint, over_cap, is_barred)

    def get_failed_by(self, endpoint: Endpoint, over_cap: bool, is_barred: bool) -> tuple[str, ...]:
        """The same of an endpoint by itself; ``is_barred``: it is known not to meet the tier's bar."""
        names = {endpoint.id.lower(), endpoint.provider.lower()}
        checks = (
            ("only", bool(self.only) and names.isdisjoint(self.only)),
            ("ignore", not names.isdisjoint(self.ignore)),
            ("features", not self.features <= endpoint.features),
            ("context", endpoint.context_window is not None and self.context > endpoint.context_window),
            ("price_cap", over_cap),
            ("max_price", self.max_price is not None and not is_within(endpoint.price, self.max_price)),
            ("min_reputation", is_barred),
            ("pin_only", self.pins is not None and endpoint.id not in self.pins),
        )
        return tuple(name for name, failed in checks if failed)


def is_verified(standing: Standing) -> bool:
    """Whether what the market has found of it still counts."""
    return standing.cell.worth >= VERIFIED_MIN_REQUESTS


def get_needed_context(ask: Ask) -> int:
    """Prompt plus completion tokens the endpoint must take; 0 when the prompt is not known."""
    return 0 if ask.input_tokens is None else ask.input_tokens + (ask.output_tokens or 0)


def is_within(price: Price, limit: Price) -> bool:
    """Whether neither side is dearer than the limit's; a side of 0 is no limit."""
    return not (
        (limit.input_nusd and price.input_nusd > limit.input_nusd)
        or (limit.output_nusd and price.output_nusd > limit.output_nusd)
    )


def get_empty_pool(board: Board, pool: Pool) -> EmptyPool:
    """Why no endpoint of the board is admitted, as the error to raise."""
    failed = [(s, pool.get_failed(s, over_cap=False)) for s in board.members]
    failed += [(s, pool.get_failed(s, over_cap=True)) for s in board.excluded]
    if not failed:
        return EmptyPool(board.model, {})
    counts = Counter(name for _, names in failed for name in names)
    nearest, names = min(failed, key=lambda pair: (len(pair[1]), pair[0].cost_nusd, pair[0].state.index))
    priced = [s for s, names in failed if "price_cap" in names or "max_price" in names]
    cheapest = min(priced, key=lambda s: s.cost_nusd).state.endpoint.price if priced else None
    return EmptyPool(board.model, counts, nearest.state.endpoint, names, cheapest)
