"""Where the beginning of a prompt is cached, and what another endpoint would have to be better by.

Providers keep the prefix of a long prompt for some minutes and bill what they find of it again at their cached price.
So a conversation has a home: the endpoint that answered its last turn. Going elsewhere loses the cache, which is worth
what the cached tokens save of this request's cost. That saving is put into the home's price score, and then the home
competes as everyone does: it is left when the gain exceeds the cache.

A prompt is known by a hash of its beginning, which a conversation's turns share; so do requests with the same long
instructions, which share the cache too. How much of a prompt an endpoint really finds is learned from what it bills.
"""

from __future__ import annotations

from collections import OrderedDict

from providerrank.rules.cells import Price
from providerrank.rules.params import Params
from providerrank.rules.state import EndpointState

SMOOTHING = 0.125
"""Weight of the newest answer in an endpoint's share of hits (RFC 6298's alpha: steady, and it forgets)."""


class Home:
    """The endpoint that has a prompt's beginning."""

    __slots__ = ("at_us", "state", "tokens")

    def __init__(self, state: EndpointState, tokens: int, at_us: int) -> None:
        self.state = state
        self.tokens = tokens
        """Of the prompt it answered last."""
        self.at_us = at_us


class Homes:
    """The latest homes of prompts; bounded, the one unused longest goes first."""

    __slots__ = ("_homes", "_params")

    def __init__(self, params: Params) -> None:
        self._params = params
        self._homes: OrderedDict[int, Home] = OrderedDict()

    def __len__(self) -> int:
        return len(self._homes)

    def find(self, prefix: int, now_us: int) -> Home | None:
        """The home of a prompt that begins so, unless its cache has gone by now."""
        home = self._homes.get(prefix)
        if home is None:
            return None
        if now_us - home.at_us > self._params.cache_life_us:
            del self._homes[prefix]
            return None
        return home

    def settle(self, prefix: int, state: EndpointState, tokens: int, cached_tokens: int | None, now_us: int) -> None:
        """A prompt of so many ``tokens`` was answered; the cache held ``cached_tokens`` of them, where that is said."""
        home = self.find(prefix, now_us)
        if cached_tokens is not None and home is not None and home.state is state and home.tokens:
            found = min(1.0, cached_tokens / min(home.tokens, max(tokens, 1)))
            state.cache_hits += SMOOTHING * (found - state.cache_hits)
        self._homes[prefix] = Home(state, tokens, now_us)
        self._homes.move_to_end(prefix)
        if len(self._homes) > self._params.max_homes:
            self._homes.popitem(last=False)


def compute_saved_share(price: Price, input_tokens: float, output_tokens: float, cached_tokens: float) -> float:
    """The share of a request's cost that finding ``cached_tokens`` of its prompt in the cache saves, 0..1."""
    full = price.cost_nusd(input_tokens, output_tokens)
    if full <= 0:
        return 0.0
    return max(0.0, 1.0 - price.cost_nusd(input_tokens, output_tokens, min(cached_tokens, input_tokens)) / full)


def compute_cached_price_score(price_score: float, saved_share: float, params: Params) -> float:
    """A price score when that share of the cost is saved: ``1 - x^p`` becomes ``1 - (x (1 - saved))^p``."""
    return 1.0 - (1.0 - price_score) * float((1.0 - saved_share) ** params.price_power)
