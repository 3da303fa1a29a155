"""The live view a gateway asks: who should serve this request, and what the last one showed.

Pure state: no I/O, no clock; time and randomness are passed in. One `Router` per process; not thread-safe.

`Router.plan` answers a request with a `plan.Plan`; `Router.observe` feeds what was seen into the cell's window, the
gateway-wide session, the named session and the outage belief, and queues the endpoint's standings to be scored anew.
Both are O(log N) in the endpoints of the model. Names that a request brings (tasks, sessions) never grow
state without bound: an unknown task is chat, sessions are forgotten least recently used first.

The rest stands beside it, over the same state: what there is to rank (`boards`), what a request with wishes of its own
is offered (`stages`), what one attempt teaches (`learning`), when a score is made anew (`rescoring`), what people are
shown (`showing`), and what another process knows (`condition`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from random import Random
from typing import Final

from providerrank.rules.affinity import Homes
from providerrank.rules.ask import Ask, EmptyPool
from providerrank.rules.belief import (
    compute_bounded_belief,
    compute_out_until_us,
    compute_silence_posterior,
    compute_updated_belief,
)
from providerrank.rules.boards import Boards, get_task
from providerrank.rules.catalog import Catalog
from providerrank.rules.cells import CHAT, Cell, Price
from providerrank.rules.condition import Condition, get_condition, resume
from providerrank.rules.hedging import compute_hedge_us
from providerrank.rules.idle_probes import Rest
from providerrank.rules.learning import account, begin_window, learn_crowd, update_belief
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS, Params
from providerrank.rules.plan import Plan, Stage
from providerrank.rules.ranking import Glance, Ranking
from providerrank.rules.rescoring import Due, queue, renumber, revisit, schedule
from providerrank.rules.session import SeenSession, SessionCell, Sessions
from providerrank.rules.showing import Showing
from providerrank.rules.sight import Looks
from providerrank.rules.stages import is_for_all, make_stages
from providerrank.rules.state import CellState, EndpointState
from providerrank.rules.verified import Verified
from providerrank.rules.window import Window

_SUCCESS: Final = Outcome.SUCCESS
_NOBODYS: Final = Outcome.NOBODYS


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
        self._boards = boards = Boards(catalog, params, self._looks)
        # What every request reads is at hand here too. The boards clear theirs in place; a new catalog lays out others.
        self._plain, self._endpoints = boards.plain, boards.endpoints
        self._sessions: Sessions[CellState] = Sessions(params.max_sessions, params.max_session_cells)
        self._homes = Homes(params)
        self._due: Due = []
        self._changed: dict[CellState, None] = {}
        self._showing = Showing(boards, self._sessions, self._due, rng, params)
        for cell, window in windows:
            boards.restore(cell, window)

    def reconfigure(self, catalog: Catalog, windows: Iterable[tuple[Cell, Window]] = ()) -> None:
        """Rank by another catalog from now on; plans made before go on as they began.

        What stays keeps all that is known of it. An endpoint that is gone is kept for the requests that still hold
        it until `forget_retired`. ``windows`` are what is known of endpoints that were not here before; those of others
        are left out, since what is live is newer.
        """
        boards = self._boards
        if catalog == boards.catalog:
            return
        known = set(boards.endpoints)
        boards.lay_out(catalog)
        self._endpoints = boards.endpoints
        renumber(self._due)
        for cell, window in windows:
            if cell.endpoint_id not in known:
                boards.restore(cell, window)

    @property
    def has_retired(self) -> bool:
        """Whether endpoints that are no longer in the catalog are still kept."""
        return bool(self._boards.roster.retired)

    def forget_retired(self) -> None:
        """No request holds an endpoint that is no longer in the catalog: let go of them."""
        self._boards.forget_retired()

    def verify(self, verified: Mapping[Cell, Verified]) -> None:
        """Rank by what the market has found from now on, in the place of what it had found before."""
        self._boards.verify(verified)
        for state in self._endpoints.values():
            queue(state)

    # Names

    def resolve(self, name: str) -> str | None:
        """The model of this name or alias."""
        return self._boards.names.get(name)

    def models(self) -> list[str]:
        """All models, in the catalog's order."""
        return list(self._boards.models)

    # Choosing

    def plan(self, ask: Ask, now_us: int, prefix: int = 0) -> Plan:
        """How to serve a request. ``prefix`` is what its prompt's beginning is known by; 0: too short for a cache.

        Raises `UnknownModel`, `UnknownTier`, or `EmptyPool` when filters leave no endpoint of any of its models;
        fallback models unknown here are skipped.
        """
        due = self._due
        if due and due[0][0] <= now_us:
            revisit(due, now_us, self._params)
        single = False
        refused: list[EmptyPool] | None = None
        stage = None
        if ask.preferences is None and ask.price_cap is None and not ask.fallback_models:
            stage = self._plain.get((ask.model, ask.task, ask.tier))
        if stage is None or not is_for_all(ask, stage.board):
            refused = []
            stages, single = make_stages(self._boards, ask, now_us, refused)
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
        cell = state.cells.get(obs.task) or self._boards.get_cell(state, obs.task)
        # The belief first: what an outage explains is not held against the healthy rate.
        if outcome is _SUCCESS and state.belief <= params.belief_floor and state.limit == params.concurrency_limit:
            # The usual case: nothing to learn but that all is still well.
            state.belief_us = now_us
            blame, out_until_us, has_turned = 1.0, 0, False
        else:
            out_until_us = compute_out_until_us(state.belief, state.belief_us, params)
            was_out = state.belief > params.belief_out
            blame = update_belief(state, outcome, 1.0 - cell.success, now_us, params)
            has_turned = was_out != (state.belief > params.belief_out)
        # History.
        window = cell.window or begin_window(state, cell)
        whole = state.window
        if has_turned or now_us - window.elapsed_us >= params.uptime_step_us:
            account(state, window, now_us, out_until_us, has_turned, self._changed)
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
            learn_crowd(state, cell, shared, now_us, params)
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
        queue(state)
        if not state.refresh_due_us:
            schedule(self._due, state, now_us, params)

    def _observe_silence(self, state: EndpointState, obs: Observation, silent_us: int, session: str | None) -> None:
        """Learn from an attempt that was dropped because another was faster (see `hedging`)."""
        params, now_us = self._params, obs.at_us
        cell = state.cells.get(obs.task) or self._boards.get_cell(state, obs.task)
        window = cell.window
        if window is None or not window.timed:
            # Of a cell that was never timed it says something only where it is longer than was expected.
            if math.log(max(silent_us, 1)) < cell.log_ttft:
                return
            window = window or begin_window(state, cell)
        longer, spread = window.get_longer_share(silent_us), window.compute_spread(silent_us)
        out_until_us = compute_out_until_us(state.belief, state.belief_us, params)
        was_out = state.belief > params.belief_out
        belief = compute_silence_posterior(state.get_belief(now_us, params), longer, params)
        state.belief, state.belief_us = compute_bounded_belief(belief, params), now_us
        state.suspect = state.belief > params.belief_suspect
        if was_out != (state.belief > params.belief_out):
            account(state, window, now_us, out_until_us, True, self._changed)
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
        queue(state)
        if not state.refresh_due_us:
            schedule(self._due, state, now_us, params)

    def reprice(self, prices: Mapping[str, Price]) -> None:
        """Take new list prices, by endpoint id; boards are made anew on their next use."""
        self._boards.reprice(prices)

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
        resume(conditions, self._boards, self._due)

    def first_token_us(self, endpoint_id: str, task: str) -> int:
        """How long to wait for the first token: a multiple of the cell's p99 within bounds, a default while unknown."""
        params = self._params
        cells = self._endpoints[endpoint_id].cells
        cell = cells.get(task) or cells.get(get_task(task, self._params))
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
        cell = cells.get(task) or cells.get(get_task(task, self._params))
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
        if state is None or endpoint_id in self._boards.roster.retired:
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
        return self._showing.has_usable(now_us)

    def ranking(
        self,
        model: str,
        now_us: int,
        task: str = CHAT,
        tier: str | None = None,
        session: str | None = None,
        limit: int | None = None,
    ) -> Ranking:
        """Every endpoint of a model with its scores, best first, or the first so many (see `showing`)."""
        return self._showing.ranking(model, now_us, task, tier, session, limit)

    def glance(self, model: str, now_us: int) -> list[Glance]:
        """How every endpoint of a model stands for chat, in no order."""
        return self._showing.glance(model, now_us)

    def sessions(self, limit: int, now_us: int) -> list[SeenSession]:
        """The named sessions used last, the latest first."""
        return self._showing.sessions(limit, now_us)

    def get_window(self, cell: Cell) -> Window | None:
        """What was measured of a cell; None: nothing."""
        state = self._endpoints.get(cell.endpoint_id)
        kept = None if state is None else state.cells.get(cell.task)
        return None if kept is None else kept.window

    def windows(self, changed_only: bool = True) -> list[tuple[Cell, Window]]:
        """For the store: the live windows that changed since the last such call, or all of them."""
        if changed_only:
            cells = list(self._changed)
            self._changed.clear()
        else:
            cells = [cell for state in self._endpoints.values() for cell in state.cells.values()]
        return [(Cell(c.endpoint.id, c.task), c.window) for c in cells if c.window is not None]
