"""Tiers, and keys with names of their own: what each is confined to."""

from __future__ import annotations

import math

from providerrank.apps.config.mistakes import KeyPath, show
from providerrank.apps.config.sections.checking import MAX_SPEND_USD, Checking, is_above
from providerrank.apps.config.tables import KeyTable

MAX_PER_MINUTE = 1_000_000_000_000
"""What an account of 64-bit integers holds with room to spare."""


def check_tiers(it: Checking) -> None:
    """Names are free and numbers in range."""
    first: dict[str, int] = {}
    for index, tier in enumerate(it.config.tiers):
        path: KeyPath = ("tiers", index)
        it.check_name((*path, "name"), tier.name)
        earlier = first.setdefault(tier.name, index)
        if earlier != index and tier.name:
            it.say((*path, "name"), f"is {show(tier.name)}, the name of tiers[{earlier}] already: rename one.")
        if tier.min_reputation is not None:
            it.check_number(
                (*path, "min_reputation"), tier.min_reputation, "a reputation is from 0 to 1", least=0, most=1
            )
        if tier.weights is not None:
            it.check_weights((*path, "weights"), tier.weights)
        it.check_number((*path, "price_cap_factor"), tier.price_cap_factor, "a factor is above 0", above=0)


def check_keys(it: Checking) -> None:
    """Names and secrets are each one key's; what a key is confined to exists; limits are in range."""
    first: dict[str, int] = {}
    secrets = {secret.reveal(it.environ): f"gateway.keys[{at}]" for at, secret in enumerate(it.config.gateway.keys)}
    known_models = (*it.served, *it.aliases)
    known_tiers = [tier.name for tier in it.config.tiers]
    for index, key in enumerate(it.config.keys):
        path: KeyPath = ("keys", index)
        it.check_name((*path, "name"), key.name)
        earlier = first.setdefault(key.name, index)
        if earlier != index and key.name:
            it.say((*path, "name"), f"is {show(key.name)}, the name of keys[{earlier}] already: rename one.")
        if it.check_secret((*path, "key"), key.key):
            other = secrets.setdefault(key.key.reveal(it.environ), f"keys[{index}]")
            if other != f"keys[{index}]":
                it.say((*path, "key"), f"is the key of {other} too: whose request it is could not be told.")
        if key.models is not None and not key.models:
            it.say((*path, "models"), "is empty, so nothing may be asked for: name models, or leave it out.")
        it.check_known((*path, "models"), key.models or (), known_models, "no model or alias here")
        it.check_known((*path, "tiers"), key.tiers, known_tiers, "no tier here")
        _check_key_limits(it, path, key)
        _check_key_cap(it, (*path, "price_cap"), key)


def _check_key_limits(it: Checking, path: KeyPath, key: KeyTable) -> None:
    """Limits that let something through, and that an account can count."""
    for limit in ("requests_per_minute", "tokens_per_minute", "expected_output"):
        value: int | None = getattr(key, limit)
        if value is not None:
            it.check_number((*path, limit), value, f"it is from 1 to {MAX_PER_MINUTE}", least=1, most=MAX_PER_MINUTE)
    if key.spend_per_day is not None:
        it.check_number(
            (*path, "spend_per_day"),
            key.spend_per_day,
            "a budget is above 0 and at most a billion",
            above=0,
            most=MAX_SPEND_USD,
            unit="USD",
        )


def _check_key_cap(it: Checking, path: KeyPath, key: KeyTable) -> None:
    """A cap is above zero, and something is within it."""
    cap = key.price_cap
    if cap is None:
        return
    for side in ("input", "output"):
        it.check_number((*path, side), getattr(cap, side), "a cap is above 0", above=0, unit="USD per million tokens")
    if not all(math.isfinite(side) and side > 0 for side in (cap.input, cap.output)):
        return
    models = None if key.models is None else {it.aliases.get(name, name) for name in key.models}
    priced = [one for one in it.config.endpoints if models is None or one.model in models]
    if priced and all(is_above(endpoint.price, cap) for endpoint in priced):
        it.note(path, "is below every price of what the key may ask for, so nothing will be served: raise it.")
