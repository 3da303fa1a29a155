"""Everything there is to rank: the catalog laid out, and the boards made of it as they are asked for.

Boards are made on first use, one for each model, task, tier and cap that is asked for, and made anew when the catalog
or its prices change. Names that a request brings grow nothing: an unknown task is chat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

from providerrank.rules.ask import UnknownTier
from providerrank.rules.board import Board, Terms
from providerrank.rules.catalog import Catalog
from providerrank.rules.cells import CHAT, PROBE, Cell, Price
from providerrank.rules.params import Params
from providerrank.rules.plan import Stage
from providerrank.rules.roster import Roster, arrange, get_prior, leave
from providerrank.rules.sight import Looks
from providerrank.rules.state import CellState, EndpointState
from providerrank.rules.verified import Verified
from providerrank.rules.window import Window


class Boards:
    """See the module."""

    __slots__ = (
        "_made",
        "_verified",
        "catalog",
        "endpoints",
        "looks",
        "models",
        "names",
        "params",
        "plain",
        "roster",
        "tiers",
    )

    def __init__(self, catalog: Catalog, params: Params, looks: Looks) -> None:
        self.params = params
        self.looks = looks
        self.roster = Roster()
        self._verified: Mapping[Cell, Verified] = {}
        self._made: dict[tuple[str, str, str | None, Price | None], Board] = {}
        self.plain: dict[tuple[str, str, str | None], Stage] = {}
        """For requests without wishes of their own: the boards of models without pins, bars or fallback models."""
        self.lay_out(catalog)

    def __len__(self) -> int:
        return len(self._made)

    def lay_out(self, catalog: Catalog) -> None:
        """Rank by this catalog; what is known of what stays is kept (see `roster`)."""
        self.catalog = catalog
        self.roster = roster = arrange(catalog, self.roster, self.params)
        self.models, self.endpoints, self.names = roster.models, roster.endpoints, roster.names
        self.tiers = roster.tiers
        self._made.clear()
        self.plain.clear()

    def forget_retired(self) -> None:
        """No request holds an endpoint that is no longer in the catalog: let go of them."""
        for endpoint_id in self.roster.retired:
            # A last plan that looked at it may have had it speak for its model again.
            leave(self.endpoints.pop(endpoint_id))
        self.roster = replace(self.roster, retired=frozenset())

    def reprice(self, prices: Mapping[str, Price]) -> None:
        """Take new list prices, by endpoint id; boards are made anew on their next use."""
        repriced = False
        for endpoint_id, price in prices.items():
            state = self.endpoints[endpoint_id]
            if state.endpoint.price != price:
                state.endpoint = replace(state.endpoint, price=price)
                repriced = True
        if repriced:
            endpoints = tuple(self.endpoints[endpoint.id].endpoint for endpoint in self.catalog.endpoints)
            self.catalog = replace(self.catalog, endpoints=endpoints)
            self._made.clear()
            self.plain.clear()
            for state in self.endpoints.values():
                state.standings.clear()

    def restore(self, cell: Cell, window: Window) -> None:
        """Take what was measured of a cell before, beside what there is; of an unknown endpoint nothing."""
        state = self.endpoints.get(cell.endpoint_id)
        if state is None:
            return
        kept = self.get_cell(state, cell.task)
        kept.window = window if kept.window is None else Window.merged(kept.window, window)
        parts = [c.window for c in state.cells.values() if c.window is not None]
        state.window = parts[0] if len(parts) == 1 else reduce(Window.merged, parts)
        state.model.observed += window.requests

    def verify(self, verified: Mapping[Cell, Verified]) -> None:
        """Take what the market has found, in the place of what it had found before."""
        self._verified = verified
        for state in self.endpoints.values():
            for task, cell in state.cells.items():
                cell.verified, cell.worth = verified.get(Cell(state.id, task)), 0.0

    def get_cell(self, state: EndpointState, task: str) -> CellState:
        """The endpoint at a task; begun if need be."""
        task = get_task(task, self.params)
        cell = state.cells.get(task)
        if cell is None:
            cell = state.cells[task] = CellState(state, task, get_prior(state.model, task, self.params))
            cell.verified = self._verified.get(Cell(state.id, task))
        return cell

    def get(self, model: str, task: str, tier_name: str | None, own_cap: Price | None = None) -> Board:
        """The board of a model that is known; raises `UnknownTier`."""
        if task not in self.params.tasks:
            task = CHAT
        board = self._made.get((model, task, tier_name, own_cap))
        return board or self._make(model, task, tier_name, own_cap)

    def _make(self, model: str, task: str, tier_name: str | None, own_cap: Price | None) -> Board:
        buyer = self.catalog.buyer
        cap, weights, min_reputation = buyer.price_cap, buyer.weights, None
        if tier_name is not None:
            tier = self.tiers.get(tier_name)
            if tier is None:
                raise UnknownTier(tier_name, self.tiers)
            weights = tier.weights or weights
            min_reputation = tier.min_reputation
            if cap is not None:
                factor = tier.price_cap_factor
                cap = Price(round(cap.input_nusd * factor), round(cap.output_nusd * factor))
        if own_cap is not None:
            cap = own_cap if cap is None else _get_lower(cap, own_cap)
        state = self.models[model]
        cells = [self.get_cell(one, task) for one in state.endpoints]
        prior = get_prior(state, task, self.params)
        terms = Terms(cap, weights, min_reputation, buyer.exploration, buyer.verified_first)
        board = Board(state, task, tier_name, cells, prior, terms, self.params, self.looks)
        self._made[model, task, tier_name, own_cap] = board
        rules = state.rules
        is_plain = own_cap is None and min_reputation is None and not board.verified_first
        if board.members and is_plain and not (rules.pin or rules.pin_only or rules.fallback_models):
            self.plain[model, task, tier_name] = Stage(board, None)
        return board


def get_task(task: str, params: Params) -> str:
    """The task that a name stands for: chat where it is unknown."""
    return task if task in params.tasks or task == PROBE else CHAT


def _get_lower(one: Price, other: Price) -> Price:
    """The lower of two caps on each side."""
    return Price(min(one.input_nusd, other.input_nusd), min(one.output_nusd, other.output_nusd))
