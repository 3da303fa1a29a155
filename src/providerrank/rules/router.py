"""The live view a gateway asks: who should serve this request, and what the last one showed.

Pure state: no I/O, no clock; time and randomness are passed in. One `Router` per process; not thread-safe.

`Router.plan` answers a request with a `plan.Plan`; `Router.observe` feeds what was seen into the cell's window, the
gateway-wide session, the named session and the outage belief, and queues the endpoint's standings to be scored anew.
Both are O(log N) in the endpoints of the model. Names that a request brings (tasks, sessions) never grow
state without bound: an unknown task is chat, sessions are forgotten least recently used first.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import attrgetter
from random import Random
from typing import Final

from providerrank.rules.affinity import Homes
from providerrank.rules.ask import Ask, EmptyPool, Preferences, RoutingError, Sort, UnknownModel, UnknownTier
from providerrank.rules.belief import (
    compute_bounded_belief,
    compute_out_until_us,
    compute_posterior,
    compute_silence_posterior,
    compute_updated_belief,
)
from providerrank.rules.board import SMALL, Board, Terms
from providerrank.rules.catalog import Buyer, Catalog, ModelRules, Tier
from providerrank.rules.cells import CHAT, PROBE, Cell, Price
from providerrank.rules.condition import Condition, get_condition, get_session
from providerrank.rules.hedging import compute_hedge_us
from providerrank.rules.idle_probes import Rest
from providerrank.rules.metering import compute_billing_ratio
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS, Params
from providerrank.rules.placed import Placed
from providerrank.rules.plan import Plan, Stage, tell_lane
from providerrank.rules.pool import Pool, get_empty_pool, get_names, get_needed_context, is_named, is_verified
from providerrank.rules.ranking import OFFERED, Glance, Ranked, Ranking, Weights
from providerrank.rules.reputation import compute_reliability
from providerrank.rules.roster import Roster, arrange, get_prior, leave
from providerrank.rules.session import SeenCell, SeenSession, SessionCell, Sessions, compute_session_decay
from providerrank.rules.sight import Looks
from providerrank.rules.state import CellState, EndpointState, Prior, Standing
from providerrank.rules.verified import Verified
from providerrank.rules.window import Window

_SUCCESS: Final = Outcome.SUCCESS
_NOBODYS: Final = Outcome.NOBODYS

__all__ = [
    "Ask",
    "Buyer",
    "Catalog",
    "EmptyPool",
    "ModelRules",
    "Plan",
    "Preferences",
    "Ranked",
    "Ranking",
    "Router",
    "RoutingError",
    "Sort",
    "Tier",
    "UnknownModel",
    "UnknownTier",
    "Weights",
]


_get_place = attrgetter("place")


class Router:
    """See the module."""

    def __init__(
        self,
        catalog: Catalog,
        rng: Random,
        params: Params = PARAMS,
        windows: Iterable[tuple[Cell, Window]] = (),
        looks: Looks | None = None,
    ) -> None:
        """``looks`` takes what is needed to explain a choice afterwards; None: nothing does."""
        self._rng = rng
        self._params = params
        self._looks = looks or Looks(0, params)
        self._roster = Roster()
        self._lay_out(catalog)
        self._boards: dict[tuple[str, str, str | None, Price | None], Board] = {}
        self._plain: dict[tuple[str, str, str | None], Stage] = {}
        """For requests without wishes of their own: the boards of models without pins, bars or fallback models."""
        self._sessions: Sessions[CellState] = Sessions(params.max_sessions, params.max_session_cells)
        self._homes = Homes(params)
        self._due: list[tuple[int, int, EndpointState]] = []
        self._verified: Mapping[Cell, Verified] = {}
        self._changed: dict[CellState, None] = {}
        for cell, window in windows:
            self._restore(cell, window)

    def _lay_out(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._roster = roster = arrange(catalog, self._roster, self._params)
        self._models, self._endpoints, self._names = roster.models, roster.endpoints, roster.names
        self._tiers = roster.tiers

    def reconfigure(self, catalog: Catalog, windows: Iterable[tuple[Cell, Window]] = ()) -> None:
        """Rank by another catalog from now on; plans made before go on as they began.

        What stays keeps all that is known of it. An endpoint that is gone is kept for the requests that still hold
        it until `forget_retired`. ``windows`` are what is known of endpoints that were not here before; those of others
        are left out, since what is live is newer.
        """
        if catalog == self._catalog:
            return
        known = set(self._endpoints)
        self._lay_out(catalog)
        self._boards.clear()
        self._plain.clear()
        # Positions have changed, and they break the heap's ties.
        self._due = [(due_us, state.index, state) for due_us, _, state in self._due]
        heapq.heapify(self._due)
        for cell, window in windows:
            if cell.endpoint_id not in known:
                self._restore(cell, window)

    @property
    def has_retired(self) -> bool:
        """Whether endpoints that are no longer in the catalog are still kept."""
        return bool(self._roster.retired)

    def forget_retired(self) -> None:
        """No request holds an endpoint that is no longer in the catalog: let go of them."""
        for endpoint_id in self._roster.retired:
            # A last plan that looked at it may have had it speak for its model again.
            leave(self._endpoints.pop(endpoint_id))
        self._roster = replace(self._roster, retired=frozenset())

    def _restore(self, cell: Cell, window: Window) -> None:
        state = self._endpoints.get(cell.endpoint_id)
        if state is None:
            return
        kept = self._get_cell(state, cell.task)
        kept.window = window if kept.window is None else Window.merged(kept.window, window)
        parts = [c.window for c in state.cells.values() if c.window is not None]
        state.window = parts[0] if len(parts) == 1 else reduce(Window.merged, parts)
        state.model.observed += window.requests

    def verify(self, verified: Mapping[Cell, Verified]) -> None:
        """Rank by what the market has found from now on, in the place of what it had found before."""
        self._verified = verified
        for state in self._endpoints.values():
            for task, cell in state.cells.items():
                cell.verified, cell.worth = verified.get(Cell(state.id, task)), 0.0
            self._queue(state)

    # Names

    def resolve(self, name: str) -> str | None:
        """The model of this name or alias."""
        return self._names.get(name)

    def models(self) -> list[str]:
        """All models, in the catalog's order."""
        return list(self._models)

    def _get_task(self, task: str) -> str:
        return task if task in self._params.tasks or task == PROBE else CHAT

    def _get_cell(self, state: EndpointState, task: str) -> CellState:
        task = self._get_task(task)
        cell = state.cells.get(task)
        if cell is None:
            cell = state.cells[task] = CellState(state, task, get_prior(state.model, task, self._params))
            cell.verified = self._verified.get(Cell(state.id, task))
        return cell

    def _get_prior(self, model: str, task: str) -> Prior:
        return get_prior(self._models[model], task, self._params)

    def _get_board(self, model: str, task: str, tier_name: str | None, own_cap: Price | None = None) -> Board:
        if task not in self._params.tasks:
            task = CHAT
        board = self._boards.get((model, task, tier_name, own_cap))
        return board or self._make_board(model, task, tier_name, own_cap)

    def _make_board(self, model: str, task: str, tier_name: str | None, own_cap: Price | None) -> Board:
        buyer = self._catalog.buyer
        cap, weights, min_reputation = buyer.price_cap, buyer.weights, None
        if tier_name is not None:
            tier = self._tiers.get(tier_name)
            if tier is None:
                raise UnknownTier(tier_name, self._tiers)
            weights = tier.weights or weights
            min_reputation = tier.min_reputation
            if cap is not None:
                factor = tier.price_cap_factor
                cap = Price(round(cap.input_nusd * factor), round(cap.output_nusd * factor))
        if own_cap is not None:
            cap = own_cap if cap is None else get_lower(cap, own_cap)
        cells = [self._get_cell(state, task) for state in self._models[model].endpoints]
        prior = self._get_prior(model, task)
        terms = Terms(cap, weights, min_reputation, buyer.exploration, buyer.verified_first)
        state = self._models[model]
        board = Board(state, task, tier_name, cells, prior, terms, self._params, self._looks)
        self._boards[model, task, tier_name, own_cap] = board
        rules = state.rules
        is_plain = own_cap is None and min_reputation is None and not board.verified_first
        if board.members and is_plain and not (rules.pin or rules.pin_only or rules.fallback_models):
            self._plain[model, task, tier_name] = Stage(board, None)
        return board

    # Choosing

    def plan(self, ask: Ask, now_us: int, prefix: int = 0) -> Plan:
        """How to serve a request. ``prefix`` is what its prompt's beginning is known by; 0: too short for a cache.

        Raises `UnknownModel`, `UnknownTier`, or `EmptyPool` when filters leave no endpoint of any of its models;
        fallback models unknown here are skipped.
        """
        due = self._due
        if due and due[0][0] <= now_us:
            self._revisit(now_us)
        single = False
        refused: list[EmptyPool] | None = None
        stage = None
        if ask.preferences is None and ask.price_cap is None and not ask.fallback_models:
            stage = self._plain.get((ask.model, ask.task, ask.tier))
        if stage is None or not _is_for_all(ask, stage.board):
            refused = []
            stages, single = self._make_stages(ask, now_us, refused)
            stage = stages[0]
            board = stage.board
        else:
            stages = [stage]
            board = stage.board
        overlay = None if ask.session is None else self._sessions.get(ask.session)
        if now_us >= board.sights[0].until_us:
            board.refresh(now_us)
            self._looks.look(board, now_us)
        home = self._homes.find(prefix, now_us) if prefix else None
        # (Trying another endpoint out would cost the cache.)
        explores = home is None and self._explores(stage)
        plan = Plan(stages, overlay, explores, single, self._rng, self._params, ask, home)
        if refused is not None:
            plan.lanes = None
            if refused:
                plan.refused = tuple(refused)
                plan.sights = (*(sight for error in refused for sight in error.sights), *plan.sights)
        return plan

    def _make_stages(self, ask: Ask, now_us: int, refused: list[EmptyPool]) -> tuple[list[Stage], bool]:
        """One for each model that may serve; and whether only the first choice may. Those passed over: ``refused``."""
        name = self._names.get(ask.model)
        if name is None:
            raise UnknownModel(ask.model, self._models)
        preferences = ask.preferences
        may_fall_back = preferences is None or preferences.allow_fallbacks
        allowed = ask.allowed_models
        fallbacks: Sequence[str] = ()
        if may_fall_back:
            fallbacks = ask.fallback_models or self._models[name].rules.fallback_models
        stage = self._make_stage(name, ask, now_us)
        stages: list[Stage] = []
        if isinstance(stage, Stage):
            stages.append(stage)
        else:
            refused.append(stage)
        for other in fallbacks:
            fallback = self._names.get(other)
            if allowed is not None and fallback not in allowed:
                continue
            if fallback is not None and fallback != name and all(s.board.model != fallback for s in stages):
                further = self._make_stage(fallback, ask, now_us)
                if isinstance(further, Stage):
                    stages.append(further)
                else:
                    refused.append(further)
        if not stages:
            assert isinstance(stage, EmptyPool)
            raise stage
        return stages, preferences is not None and not may_fall_back and not preferences.order

    def _make_stage(self, model: str, ask: Ask, now_us: int) -> Stage | EmptyPool:
        board = self._get_board(model, ask.task, ask.tier, ask.price_cap)
        board.refresh(now_us)
        rules = self._models[model].rules
        preferences = ask.preferences
        pool: Pool | None = None
        if (
            preferences is not None
            or rules.pin_only
            or board.min_reputation is not None
            or board.verified_first
            or not _is_for_all(ask, board)
        ):
            pool = Pool(ask, rules, board.min_reputation, self._params.unproven_requests)
            if not any(pool.admits(s) for s in board.members):
                return _refuse(board, pool, now_us)
        elif not board.members:
            return _refuse(board, Pool(ask, rules, None, 0.0), now_us)
        if preferences is None and not rules.pin:
            return Stage(board, pool)
        first: list[Standing] = []
        if preferences is not None:
            for entry in preferences.order:
                names = get_names((entry,))
                first += [s for s in board.members if is_named(s.state, names) and s not in first]
        if preferences is None or preferences.sort is None:
            for endpoint_id in rules.pin:
                pinned = self._endpoints.get(endpoint_id)
                standing = None if pinned is None else board.by_state.get(pinned)
                if standing is not None and standing not in first:
                    first.append(standing)
        else:
            by = _SORTS[preferences.sort]
            first += sorted((s for s in board.members if s not in first), key=by)
            return Stage(board, pool, first, is_sorted=True)
        return Stage(board, pool, first)

    def _explores(self, stage: Stage) -> bool:
        board = stage.board
        floor = board.exploration
        if floor <= 0.0 or stage.first:
            return False
        draw = self._rng.random()
        if draw < floor:
            return True
        tenths = board.model_state.observed / board.warm_requests
        return tenths < 4.0 and draw < 10.0**-tenths

    # Learning

    def settle(self, prefix: int, endpoint_id: str, tokens: int, cached_tokens: int | None, now_us: int) -> None:
        """An endpoint has answered a prompt known by ``prefix``, and has it cached now."""
        state = self._endpoints.get(endpoint_id)
        if state is not None:
            self._homes.settle(prefix, state, tokens, cached_tokens, now_us)

    def observe(self, obs: Observation, session: str | None = None) -> None:
        """Learn from one attempt; one on an endpoint no longer in the catalog is ignored."""
        state = self._endpoints.get(obs.endpoint_id)
        if state is None:
            return
        outcome = obs.outcome
        state.trial_until_us = 0
        if outcome is _NOBODYS:
            if obs.silent_us is not None:
                self._observe_silence(state, obs, obs.silent_us, session)
            return
        params, now_us = self._params, obs.at_us
        cell = state.cells.get(obs.task) or self._get_cell(state, obs.task)
        # The belief first: what an outage explains is not held against the healthy rate.
        if outcome is _SUCCESS and state.belief <= params.belief_floor and state.limit == params.concurrency_limit:
            # The usual case: nothing to learn but that all is still well.
            state.belief_us = now_us
            blame, out_until_us, has_turned = 1.0, 0, False
        else:
            out_until_us = compute_out_until_us(state.belief, state.belief_us, params)
            was_out = state.belief > params.belief_out
            blame = self._update_belief(state, outcome, 1.0 - cell.success, now_us)
            has_turned = was_out != (state.belief > params.belief_out)
        # History.
        window = cell.window or self._begin_window(state, cell)
        whole = state.window
        if has_turned or now_us - window.elapsed_us >= params.uptime_step_us:
            self._account(state, window, now_us, out_until_us, has_turned)
        log_ttft = window.observe(obs, blame)
        if whole is not window:
            whole.observe(obs, blame)
        self._changed[cell] = None
        state.model.observed += 1.0
        # Sessions.
        shared = cell.session
        if shared is None:
            shared = cell.session = SessionCell()
        shared.observe(obs, log_ttft, blame, params)
        if state.in_flight >= params.crowd:
            self._learn_crowd(state, cell, shared, now_us)
        if session is not None:
            own = self._sessions.touch(session, cell, now_us)
            own.belief = compute_updated_belief(own.get_belief(now_us, params), outcome, 1.0 - cell.success, params)
            own.observe(obs, log_ttft, blame, params)
        if (
            outcome is _SUCCESS
            and now_us - cell.estimated_us < params.rescore_us
            and cell.evidence > params.history_prior_requests
        ):
            # One more success among many a second says nothing that can not wait for the next.
            return
        self._queue(state)
        if not state.refresh_due_us:
            self._schedule(state, now_us)

    def _observe_silence(self, state: EndpointState, obs: Observation, silent_us: int, session: str | None) -> None:
        """Learn from an attempt that was dropped because another was faster (see `hedging`)."""
        params, now_us = self._params, obs.at_us
        cell = state.cells.get(obs.task) or self._get_cell(state, obs.task)
        window = cell.window
        if window is None or not window.timed:
            # Of a cell that was never timed it says something only where it is longer than was expected.
            if math.log(max(silent_us, 1)) < cell.log_ttft:
                return
            window = window or self._begin_window(state, cell)
        longer, spread = window.get_longer_share(silent_us), window.compute_spread(silent_us)
        out_until_us = compute_out_until_us(state.belief, state.belief_us, params)
        was_out = state.belief > params.belief_out
        belief = compute_silence_posterior(state.get_belief(now_us, params), longer, params)
        state.belief, state.belief_us = compute_bounded_belief(belief, params), now_us
        state.suspect = state.belief > params.belief_suspect
        if was_out != (state.belief > params.belief_out):
            self._account(state, window, now_us, out_until_us, True)
        log_ttft = window.observe_spread(now_us, spread)
        if state.window is not window:
            state.window.observe_spread(now_us, spread)
        self._changed[cell] = None
        shared = cell.session
        if shared is None:
            shared = cell.session = SessionCell()
        shared.observe(obs, log_ttft, 0.0, params)
        if session is not None:
            own = self._sessions.touch(session, cell, now_us)
            belief = compute_silence_posterior(own.get_belief(now_us, params), longer, params)
            own.belief = compute_bounded_belief(belief, params)
            own.observe(obs, log_ttft, 0.0, params)
        self._queue(state)
        if not state.refresh_due_us:
            self._schedule(state, now_us)

    def _update_belief(self, state: EndpointState, outcome: Outcome, failure_rate: float, now_us: int) -> float:
        """Update the endpoint's belief; returns the share of a failure that no outage explains."""
        params = self._params
        if outcome is _SUCCESS and state.belief <= params.belief_floor:
            self._learn_limit(state, outcome, now_us)
            state.belief_us = now_us
            return 1.0
        posterior = compute_posterior(state.get_belief(now_us, params), outcome, failure_rate, params)
        belief = state.belief = compute_bounded_belief(posterior, params)
        state.belief_us = now_us
        state.suspect = belief > params.belief_suspect
        self._learn_limit(state, outcome, now_us)
        return 0.0 if outcome is Outcome.REFUSED_US else 1.0 - posterior

    def _account(self, state: EndpointState, window: Window, now_us: int, out_until_us: int, has_turned: bool) -> None:
        """Account uptime since the last observation, as believed meanwhile."""
        if has_turned:
            # It went out or came back: for all its cells.
            for other in state.cells.values():
                if other.window is not None:
                    _elapse(other.window, now_us, out_until_us)
                    self._changed[other] = None
        else:
            _elapse(window, now_us, out_until_us)
        if state.window is not window:
            _elapse(state.window, now_us, out_until_us)

    def _begin_window(self, state: EndpointState, cell: CellState) -> Window:
        window = cell.window = Window()
        self._share_window(state, cell)
        return window

    def _share_window(self, state: EndpointState, cell: CellState) -> None:
        """Keep the endpoint's window the sum of its cells': the only one's own, or one beside them."""
        others = [c.window for c in state.cells.values() if c.window is not None and c is not cell]
        if not others:
            assert cell.window is not None
            state.window = cell.window
        elif len(others) == 1:
            state.window = Window.merged(Window(), others[0])

    def _learn_crowd(self, state: EndpointState, cell: CellState, shared: SessionCell, now_us: int) -> None:
        """Many requests are in flight: lower the limit where the endpoint has become slow under them."""
        params = self._params
        if now_us - state.limited_us < params.crowded_us:
            return
        state.limited_us = now_us
        window, least = cell.window, params.first_token_requests
        assert window is not None
        usual_us = window.quantile_us(0.5)
        if usual_us is None or shared.timed < least or window.timed < least:
            return
        # (The median is of hours: a crowd's slow answers do not move it soon.)
        if shared.log_sum / shared.timed > math.log(usual_us * params.crowded_ratio):
            state.limit = max(float(params.crowd), params.crowded_decrease * state.get_load(params))

    def _learn_limit(self, state: EndpointState, outcome: Outcome, now_us: int) -> None:
        params = self._params
        if outcome is Outcome.SUCCESS:
            state.refusals = 0
            state.hold_until_us = 0
            if state.limit != params.concurrency_limit:
                state.limit += 1.0 / state.limit
                if state.limit >= max(params.concurrency_limit, params.concurrency_forget * state.in_flight):
                    state.limit = params.concurrency_limit
        elif outcome is Outcome.RATE_LIMITED:
            state.limit = max(params.concurrency_min, params.concurrency_decrease * state.get_load(params))
        elif outcome is Outcome.REFUSED_US:
            hold = min(params.refused_trial_max_us, params.refused_trial_us << min(state.refusals, 16))
            state.refusals += 1
            state.hold_until_us = now_us + hold

    def _queue(self, state: EndpointState) -> None:
        for cell in state.cells.values():
            cell.fresh = False
        for standing in state.standings:
            if not standing.queued:
                standing.queued = True
                standing.queue.append(standing)

    def _schedule(self, state: EndpointState, now_us: int) -> None:
        # The longer ago the last observation, the slower the session fades: so the steps double.
        state.refresh_due_us = now_us + max(self._params.refresh_us, now_us - state.belief_us)
        heapq.heappush(self._due, (state.refresh_due_us, state.index, state))

    def _revisit(self, now_us: int) -> None:
        """Score anew what the fading session still moves."""
        due, params = self._due, self._params
        while due and due[0][0] <= now_us:
            state = heapq.heappop(due)[2]
            state.refresh_due_us = 0
            self._queue(state)
            if any(
                cell.session is not None
                and cell.session.requests * compute_session_decay(now_us - cell.session.at_us, params)
                > params.session_negligible_requests
                for cell in state.cells.values()
            ):
                self._schedule(state, now_us)

    def reprice(self, prices: Mapping[str, Price]) -> None:
        """Take new list prices, by endpoint id; boards are made anew on their next use."""
        repriced = False
        for endpoint_id, price in prices.items():
            state = self._endpoints[endpoint_id]
            if state.endpoint.price != price:
                state.endpoint = replace(state.endpoint, price=price)
                repriced = True
        if repriced:
            endpoints = tuple(self._endpoints[endpoint.id].endpoint for endpoint in self._catalog.endpoints)
            self._catalog = replace(self._catalog, endpoints=endpoints)
            self._boards.clear()
            self._plain.clear()
            for state in self._endpoints.values():
                state.standings.clear()

    def cool(self, endpoint_id: str, until_us: int) -> None:
        """Do not use the endpoint before ``until_us``; of several deadlines the latest holds.

        One that is no longer in the catalog is ignored.
        """
        state = self._endpoints.get(endpoint_id)
        if state is not None:
            state.cooling_until_us = max(state.cooling_until_us, until_us)

    def acquire(self, endpoint_id: str) -> None:
        """One more request in flight on it."""
        self._endpoints[endpoint_id].in_flight += 1

    def release(self, endpoint_id: str) -> None:
        """One fewer."""
        state = self._endpoints[endpoint_id]
        if state.in_flight:
            state.in_flight -= 1

    def set_in_flight(self, counts: Mapping[str, int]) -> None:
        """Say how many requests are in flight on each endpoint, by id, where others than this router send them."""
        for endpoint_id, state in self._endpoints.items():
            state.in_flight = counts.get(endpoint_id, 0)

    def conditions(self) -> list[Condition]:
        """How every endpoint is right now, for a process that begins beside this one."""
        return [get_condition(state) for state in self._endpoints.values()]

    def resume(self, conditions: Iterable[Condition]) -> None:
        """Go on from what another process knows; to be called before anything was observed."""
        params = self._params
        for condition in conditions:
            state = self._endpoints.get(condition.endpoint_id)
            if state is None:
                continue
            state.belief, state.belief_us = condition.belief, condition.belief_us
            state.suspect = condition.belief > params.belief_suspect
            state.hold_until_us, state.refusals = condition.hold_until_us, condition.refusals
            state.cooling_until_us = condition.cooling_until_us
            state.limit = condition.limit
            for lately in condition.lately:
                self._get_cell(state, lately.task).session = get_session(lately)
            self._queue(state)
            if condition.belief_us and not state.refresh_due_us:
                self._schedule(state, condition.belief_us)

    def first_token_us(self, endpoint_id: str, task: str) -> int:
        """How long to wait for the first token: a multiple of the cell's p99 within bounds, a default while unknown."""
        params = self._params
        cells = self._endpoints[endpoint_id].cells
        cell = cells.get(task) or cells.get(self._get_task(task))
        window = None if cell is None else cell.window
        if window is None or window.timed < params.first_token_requests:
            return params.first_token_default_us
        clock_us = int((window.p99_us or 0) * params.first_token_margin)
        if clock_us < params.first_token_floor_us:
            return params.first_token_floor_us
        return min(clock_us, params.first_token_ceiling_us)

    def hedge_us(self, endpoint_id: str, task: str) -> int | None:
        """How long it may be silent before a second attempt may begin elsewhere; None: not known well enough."""
        cells = self._endpoints[endpoint_id].cells
        cell = cells.get(task) or cells.get(self._get_task(task))
        if cell is None:
            return None
        now_us = cell.endpoint.window.at_us
        if now_us - cell.hedge_known_us >= self._params.hedge_known_us:
            cell.hedge_known_us = now_us
            cell.hedge_us = compute_hedge_us(cell.window, math.exp(cell.prior.log_ttft), self._params)
        return cell.hedge_us

    def get_rest(self, endpoint_id: str, now_us: int) -> Rest | None:
        """What decides whether an endpoint is to be probed; None: it is not in the catalog."""
        state = self._endpoints.get(endpoint_id)
        if state is None or endpoint_id in self._roster.retired:
            return None
        return Rest(
            state.get_belief(now_us, self._params),
            state.window.at_us,
            state.in_flight,
            state.cooling_until_us,
            state.hold_until_us,
        )

    # Showing

    def has_usable(self, now_us: int) -> bool:
        """Whether any model has an endpoint in its pool that is not believed out; a look at one, as a rule."""
        params = self._params
        for model, model_state in self._models.items():
            rules = model_state.rules
            for standing in self._get_board(model, CHAT, None).members:
                state = standing.state
                if (
                    now_us >= state.hold_until_us
                    and state.get_belief(now_us, params) <= params.belief_out
                    and (not rules.pin_only or state.id in rules.pin)
                ):
                    return True
        return False

    def ranking(
        self,
        model: str,
        now_us: int,
        task: str = CHAT,
        tier: str | None = None,
        session: str | None = None,
        limit: int | None = None,
    ) -> Ranking:
        """Every endpoint of a model with its scores, best first; O(N log N).

        With a ``limit`` only the first so many, for a fraction of the time: endpoints of a large board further down are
        placed as routing sees them, by what was known when they were last scored.
        """
        name = self._names.get(model)
        if name is None:
            raise UnknownModel(model, self._models)
        board = self._get_board(name, task, tier)
        self._bring_up(board, now_us, limit)
        pool = Pool(Ask(name), self._models[name].rules, board.min_reputation, self._params.unproven_requests)
        overlay = None if session is None else self._sessions.get(session)
        plan = Plan([Stage(board, pool)], overlay, False, False, self._rng, self._params, Ask(name))
        placed = self._place(board, plan, pool, overlay is not None, now_us)
        placed.sort(key=_get_place)
        shown = placed if limit is None else placed[:limit]
        rows = [
            self._get_row(board, one, plan, None if one.failed else rank, now_us)
            for rank, one in enumerate(shown, start=1)
        ]
        left_out = placed[len(shown) :]
        offered = sum(one.shown in OFFERED for one in left_out)
        return Ranking(name, board.task, tier, now_us, self._params.version, tuple(rows), len(left_out), offered)

    def glance(self, model: str, now_us: int) -> list[Glance]:
        """How every endpoint of a model stands for chat, in no order; as routing sees them where they are many."""
        board = self._get_board(model, CHAT, None)
        self._bring_up(board, now_us, 0)
        pool = Pool(Ask(model), self._models[model].rules, board.min_reputation, self._params.unproven_requests)
        plan = Plan([Stage(board, pool)], None, False, False, self._rng, self._params, Ask(model))
        return [
            Glance(one.standing.state.id, one.effective, one.standing.reputation, one.belief, one.shown)
            for one in self._place(board, plan, pool, False, now_us)
        ]

    def get_window(self, cell: Cell) -> Window | None:
        """What was measured of a cell; None: nothing."""
        state = self._endpoints.get(cell.endpoint_id)
        kept = None if state is None else state.cells.get(cell.task)
        return None if kept is None else kept.window

    def _bring_up(self, board: Board, now_us: int, limit: int | None) -> None:
        """Bring a board up to date for showing: all of it, or, of a large one, the ``limit`` best and what changed."""
        if limit is None or len(board.members) <= SMALL or board.revision < 0:
            board.rebuild(now_us, with_settled=True)
            return
        self._revisit(now_us)
        for standing in board.members[:limit]:
            self._queue(standing.state)
        board.refresh(now_us)

    def _place(self, board: Board, plan: Plan, pool: Pool, in_session: bool, now_us: int) -> list[Placed]:
        """Every endpoint of a board with what its place in a ranking follows from."""
        params = self._params
        is_open = pool.min_reputation is None and pool.pins is None
        first, placed = board.verified_first, list[Placed]()
        for over_cap, standings in ((False, board.members), (True, board.excluded)):
            for standing in standings:
                state = standing.state
                if over_cap:
                    board.score(standing, now_us)
                failed = () if is_open and not over_cap else pool.get_failed(standing, over_cap)
                belief, composite = state.belief, standing.composite
                if in_session:
                    view = plan.view(board, standing, now_us)
                    belief, composite = view.belief, view.composite
                elif belief > params.belief_floor:
                    belief = state.get_belief(now_us, params)
                if failed:
                    shown = "excluded"
                elif state.cooling_until_us > now_us:
                    shown = "cooling"
                elif belief > params.belief_out or now_us < state.hold_until_us:
                    shown = "out"
                else:
                    shown = "suspect" if belief > params.belief_suspect else "ok"
                effective = (1.0 - belief) * composite
                is_behind = first and (standing.cell.verified is None or not is_verified(standing))
                place = (bool(failed), is_behind, -effective)
                placed.append(Placed(place, standing, failed, shown, belief, effective))
        return placed

    def sessions(self, limit: int, now_us: int) -> list[SeenSession]:
        """The named sessions used last, the latest first."""
        params = self._params
        seen = []
        for name, cells in self._sessions.get_latest(limit):
            shown = []
            for cell, own in reversed(cells.items()):
                decay = compute_session_decay(now_us - own.at_us, params)
                belief = own.get_belief(now_us, params)
                shown.append(SeenCell(cell.endpoint.id, cell.task, own.requests * decay, own.failures * decay, belief))
            last_us = max((own.at_us for own in cells.values()), default=cells.began_us)
            seen.append(SeenSession(name, cells.began_us, last_us, cells.attempts, tuple(shown)))
        return seen

    def _get_row(self, board: Board, placed: Placed, plan: Plan, rank: int | None, now_us: int) -> Ranked:
        standing = placed.standing
        view = plan.view(board, standing, now_us)
        state, cell = standing.state, standing.cell
        window = state.window if cell.window is None else cell.window
        return Ranked(
            endpoint=state.endpoint,
            rank=rank,
            effective=placed.effective,
            composite=view.composite,
            reputation=view.reputation,
            latency=view.latency,
            reliability=compute_reliability(view.success, self._params),
            uptime=cell.uptime,
            price_score=standing.price_score,
            cost_nusd=standing.cost_nusd,
            ttft_us=math.exp(view.log_ttft),
            success=view.success,
            throughput=window.throughput,
            requests=cell.evidence,
            belief=view.belief,
            in_flight=state.in_flight,
            concurrency_limit=state.limit,
            billing_ratio=compute_billing_ratio(
                window.counted_tokens,
                window.billed_tokens,
                state.model.get_usual_ratio(now_us, self._params),
                self._params,
            ),
            state=placed.shown,
            excluded=", ".join(placed.failed) or None,
            cooling_until_us=state.cooling_until_us if state.cooling_until_us > now_us else None,
            verified=cell.verified if is_verified(standing) else None,
        )

    def windows(self, changed_only: bool = True) -> list[tuple[Cell, Window]]:
        """For the store: the live windows that changed since the last such call, or all of them."""
        if changed_only:
            cells = list(self._changed)
            self._changed.clear()
        else:
            cells = [cell for state in self._endpoints.values() for cell in state.cells.values()]
        return [(Cell(c.endpoint.id, c.task), c.window) for c in cells if c.window is not None]


def _refuse(board: Board, pool: Pool, now_us: int) -> EmptyPool:
    """Nobody on the board may serve the request; keep with the error what it takes to explain it."""
    error = get_empty_pool(board, pool)
    error.sights = (board.looks.look_again(board, now_us),)
    error.lanes = (replace(tell_lane(board, pool), refused=str(error)),)
    return error


def _is_for_all(ask: Ask, board: Board) -> bool:
    """Whether everybody on the board has what the request needs."""
    return ask.features <= board.common_features and (
        board.smallest_context is None or get_needed_context(ask) <= board.smallest_context
    )


def get_lower(one: Price, other: Price) -> Price:
    """The lower of two caps on each side."""
    return Price(min(one.input_nusd, other.input_nusd), min(one.output_nusd, other.output_nusd))


def _elapse(window: Window, now_us: int, out_until_us: int) -> None:
    """Account the time since the window's last accounting: down while believed out, up from then on."""
    if out_until_us:
        window.elapse(min(now_us, out_until_us), False)
    window.elapse(now_us, True)


def _get_price(standing: Standing) -> float:
    return standing.cost_nusd


def _get_ttft(standing: Standing) -> float:
    return standing.cell.log_ttft


def _get_slowness(standing: Standing) -> float:
    window = standing.state.window if standing.cell.window is None else standing.cell.window
    throughput = window.throughput
    return 0.0 if throughput is None else -throughput


_SORTS = {"price": _get_price, "latency": _get_ttft, "throughput": _get_slowness}
