"""Models: their names, pins and fallback models, and that something of each is within the price cap."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from providerrank.apps.config.mistakes import KeyPath, show
from providerrank.apps.config.sections.checking import Checking, is_above, suggest
from providerrank.apps.config.tables import EndpointTable


def check_models(it: Checking) -> None:
    """Names that must be known are, and those that must be free are."""
    first: dict[str, int] = {}
    names: dict[str, str] = {name: f"the model {show(name)}" for name in it.served}
    for index, model in enumerate(it.config.models):
        path: KeyPath = ("models", index)
        earlier = first.setdefault(model.id, index)
        if earlier != index:
            it.say((*path, "id"), f"is {show(model.id)}, the id of models[{earlier}] already: keep one of them.")
        elif model.id not in it.served:
            it.say(
                (*path, "id"),
                f"is {show(model.id)}, which no endpoint serves: {suggest(model.id, it.served)}, "
                "or add an endpoint with this model.",
            )
        for number, alias in enumerate(model.aliases):
            where = (*path, "aliases", number)
            if alias in names:
                it.say(where, f"is {show(alias)}, already the name of {names[alias]}: choose another or remove it.")
            else:
                it.check_name(where, alias)
                names[alias] = f"an alias of {show(model.id)}"
        _check_pins(it, path, index)
        _check_fallbacks(it, path, index)


def _check_pins(it: Checking, path: KeyPath, index: int) -> None:
    """Pins name endpoints of this model, each once."""
    model = it.config.models[index]
    own = [endpoint.id for endpoint in it.config.endpoints if endpoint.model == model.id and endpoint.id]
    for number, pin in enumerate(model.pin):
        where = (*path, "pin", number)
        if pin not in it.endpoint_ids:
            it.say(where, f"is {show(pin)}, which is no endpoint: {suggest(pin, own or it.endpoint_ids)}.")
        elif pin not in own:
            it.say(where, f"is {show(pin)}, an endpoint of another model: {suggest(pin, own)}, or remove it.")
        elif pin in model.pin[:number]:
            it.say(where, f"is {show(pin)} for the second time: keep the first.")
    if model.pin_only and not model.pin:
        it.say((*path, "pin_only"), "is true with no pin, so nothing may be tried: name endpoints in pin.")


def _check_fallbacks(it: Checking, path: KeyPath, index: int) -> None:
    """Fallback models are served ones, each once."""
    model = it.config.models[index]
    for number, name in enumerate(model.fallback_models):
        where = (*path, "fallback_models", number)
        if it.aliases.get(name, name) not in it.served:
            known = [one for one in (*it.served, *it.aliases) if it.aliases.get(one, one) != model.id]
            remedy = f"{suggest(name, known)}, or remove it" if known else "add an endpoint with it, or remove it"
            it.say(where, f"is {show(name)}, which no endpoint serves: {remedy}.")
        elif name in model.fallback_models[:number]:
            it.say(where, f"is {show(name)} for the second time: keep the first.")


def check_fallback_loops(it: Checking) -> None:
    """Following fallback models from any model comes to an end."""
    edges = {model.id: [it.aliases.get(name, name) for name in model.fallback_models] for model in it.config.models}
    told: set[frozenset[str]] = set()
    for index, model in enumerate(it.config.models):
        for number, name in enumerate(model.fallback_models):
            loop = _find_way(edges, it.aliases.get(name, name), model.id)
            if loop and frozenset(loop) not in told:
                told.add(frozenset(loop))
                chain = " -> ".join((model.id, *loop))
                it.say(
                    ("models", index, "fallback_models", number),
                    f"closes a loop of fallback models ({chain}): remove one of these steps.",
                )


def check_caps(it: Checking) -> None:
    """Some endpoint of every model is within the price cap."""
    cap = it.config.buyer.price_cap
    if cap is None or not all(math.isfinite(side) and side > 0 for side in (cap.input, cap.output)):
        return
    by_model: defaultdict[str, list[EndpointTable]] = defaultdict(list)
    for endpoint in it.config.endpoints:
        by_model[endpoint.model].append(endpoint)
    # A stand-in for a price that could not be read says nothing of the cap.
    unknown = {
        endpoint.model
        for index, endpoint in enumerate(it.config.endpoints)
        if any(path[:3] == ("endpoints", index, "price") for path in it.damaged)
    }
    for model, endpoints in by_model.items():
        if not model or model in unknown or not all(is_above(endpoint.price, cap) for endpoint in endpoints):
            continue
        cheapest = min(endpoints, key=lambda endpoint: endpoint.price.input + endpoint.price.output)
        it.say(
            ("buyer", "price_cap"),
            f"is {{ input = {cap.input:g}, output = {cap.output:g} }}, below every price of {show(model)}: "
            f"raise it to {{ input = {cheapest.price.input:g}, output = {cheapest.price.output:g} }} or more "
            f"for its cheapest endpoint, {cheapest.id}.",
        )


def _find_way(edges: Mapping[str, Iterable[str]], start: str, goal: str) -> list[str] | None:
    """Return the names from ``start`` to ``goal`` along fallback models, both included, or None."""
    ways = [[start]]
    seen = {start}
    for way in ways:
        if way[-1] == goal:
            return way
        for step in edges.get(way[-1], ()):
            if step not in seen:
                seen.add(step)
                ways.append([*way, step])
    return None
