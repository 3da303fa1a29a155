"""Who there is to route to: a catalog laid out as live state, and laid out anew when the catalog changes.

What was learned belongs to endpoints and models, not to the catalog that names them. So a new catalog is laid out
around the states that are there already:

* an endpoint or model that stays keeps its very state: windows, sessions, belief, cooling, requests in flight;
* one that is new begins with nothing;
* an endpoint whose model changed takes what is known of it along, as a restart would, and leaves its share of the
  old model's prior behind;
* an endpoint that is gone is *retired*: nobody is sent there by a plan made from now on, but requests that began
  before may still hold it, so its state is kept until it is told to be forgotten.

Positions are unique among live and retired alike: they break ties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from providerrank.rules.catalog import Catalog, ModelRules, Tier
from providerrank.rules.params import Params
from providerrank.rules.state import EndpointState, ModelState, Prior


@dataclass(frozen=True, slots=True)
class Roster:
    """One catalog, laid out."""

    models: dict[str, ModelState] = field(default_factory=dict)
    """In the catalog's order: those with rules of their own first."""
    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    """By id, the retired last."""
    names: dict[str, str] = field(default_factory=dict)
    """Model ids and aliases, to model ids."""
    tiers: dict[str, Tier] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()
    """Ids of endpoints that the catalog no longer names."""


def arrange(catalog: Catalog, before: Roster, params: Params) -> Roster:
    """Lay out a catalog around the states of ``before``, which is not used again."""
    models: dict[str, ModelState] = {}
    for rules in catalog.models:
        models[rules.id] = _take_model(before.models, rules)
    endpoints: dict[str, EndpointState] = {}
    for index, endpoint in enumerate(catalog.endpoints):
        model = models.get(endpoint.model)
        if model is None:
            model = models[endpoint.model] = _take_model(before.models, ModelRules(endpoint.model))
        state = before.endpoints.get(endpoint.id)
        if state is None:
            state = EndpointState(endpoint, model, index, params)
        else:
            state.endpoint, state.index = endpoint, index
            state.standings.clear()
            if state.model is not model:
                leave(state)
                _join(state, model, params)
        endpoints[endpoint.id] = state
        model.endpoints.append(state)
    retired = [state for endpoint_id, state in before.endpoints.items() if endpoint_id not in endpoints]
    for index, state in enumerate(retired, start=len(catalog.endpoints)):
        state.index = index
        state.standings.clear()
        leave(state)
        endpoints[state.id] = state
    names = {name: name for name in models}
    for rules in catalog.models:
        for alias in rules.aliases:
            names.setdefault(alias, rules.id)
    tiers = {tier.name: tier for tier in catalog.tiers}
    return Roster(models, endpoints, names, tiers, frozenset(state.id for state in retired))


def get_prior(model: ModelState, task: str, params: Params) -> Prior:
    """What the model's measured endpoints are like at a task; begun if need be."""
    prior = model.priors.get(task)
    if prior is None:
        prior = model.priors[task] = Prior(params, task)
    return prior


def leave(state: EndpointState) -> None:
    """Take the endpoint's share out of its model's priors; its next estimate would put it back."""
    for cell in state.cells.values():
        cell.prior.replace(cell, 0.0, 0.0, 0.0)
        cell.fresh = False


def _take_model(models: Mapping[str, ModelState], rules: ModelRules) -> ModelState:
    """The model's state with these rules and no endpoints yet."""
    model = models.get(rules.id)
    if model is None:
        return ModelState(rules)
    model.rules = rules
    model.endpoints = []
    return model


def _join(state: EndpointState, model: ModelState, params: Params) -> None:
    """Make the endpoint one of this model's."""
    state.model = model
    for cell in state.cells.values():
        cell.prior = get_prior(model, cell.task, params)
