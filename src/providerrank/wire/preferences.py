"""OpenRouter's per-request preferences: the ``provider`` object and ``models``. They are for us, and go no further."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from providerrank.rules.ask import Preferences
from providerrank.rules.cells import Price

Usd = Annotated[float, msgspec.Meta(ge=0)]


class MaxPrice(msgspec.Struct):
    """OpenRouter's ``provider.max_price``: USD per million tokens."""

    prompt: Usd | None = None
    completion: Usd | None = None


class ProviderObject(msgspec.Struct):
    """OpenRouter's ``provider`` object, the part that is about routing. Other keys are ignored."""

    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    sort: Literal["price", "throughput", "latency"] | None = None
    max_price: MaxPrice | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None


def read_preferences(provider: ProviderObject) -> Preferences:
    """OpenRouter's ``provider`` object as the ranking takes it."""
    cap = provider.max_price
    max_price = None
    if cap is not None and (cap.prompt is not None or cap.completion is not None):
        max_price = Price.from_usd(
            _UNLIMITED_USD if cap.prompt is None else min(cap.prompt, _UNLIMITED_USD),
            _UNLIMITED_USD if cap.completion is None else min(cap.completion, _UNLIMITED_USD),
        )
    return Preferences(
        order=tuple(provider.order or ()),
        only=tuple(provider.only or ()),
        ignore=tuple(provider.ignore or ()),
        sort=provider.sort,
        max_price=max_price,
        allow_fallbacks=provider.allow_fallbacks is not False,
        require_parameters=provider.require_parameters is True,
    )


_UNLIMITED_USD = 1e9
"""Stands for the side of a ``max_price`` that was not given."""
