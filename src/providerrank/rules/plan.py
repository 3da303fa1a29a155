"""One request's walk over its candidates: who is tried first, and who after a failure.

The order is that of the session's *current* view: it is looked at anew for each step, so what failed a moment ago, in
this request or another, is passed over.

1. the request's own ``order``, then the operator's pins, in their order, those believed out passed over;
2. with ``sort``, the rest by that figure;
3. otherwise by effective score ``(1 - b) * composite``. Candidates within 0.02 of the best are one class, in which the
   less loaded of two at random is taken, the better one when both are idle. A share of requests instead samples
   each candidate's posterior (Thompson), over a bounded number of candidates, for the first try only.

*Half-open.* A suspect whose belief has fallen to 0.5 is due for a try: while none is under way it competes with its
undiscounted score less the expected cost of trying. So it comes back by one success or two, even at low traffic,
and one failure more sends it away again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from providerrank.rules.affinity import Home, compute_cached_price_score, compute_saved_share
from providerrank.rules.ask import Ask, EmptyPool, Preferences
from providerrank.rules.board import Board
from providerrank.rules.budget import compute_dearest
from providerrank.rules.catalog import ModelRules
from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.params import Params
from providerrank.rules.pool import Pool, get_names, is_named
from providerrank.rules.session import (
    SessionCell,
    compute_blended_log,
    compute_blended_success,
    compute_session_decay,
)
from providerrank.rules.sight import Lane, Sight
from providerrank.rules.state import CellState, EndpointState, Standing
from providerrank.rules.why import Why

_BEST: Final = Why.BEST
_CLASS: Final = Why.CLASS

Overlay = dict[CellState, SessionCell]
NEVER = -1.0
"""Effective score of what is passed over."""
MAX_SIGHTS = 16
"""Of one request's later choices; past it they are explained by the last."""
MAX_NAMED = 32
"""Of what a request says comes first, kept to explain it."""
DRAWS = 8
"""Tries to find two usable members of a class at random before the best is taken as it is."""


@dataclass(frozen=True, slots=True)
class View:
    """One endpoint's figures in one session's eyes."""

    log_ttft: float
    success: float
    latency: float
    reputation: float
    composite: float
    belief: float


class Stage:
    """One model's part of a plan: its board, who may serve, who comes first."""

    __slots__ = ("board", "first", "is_sorted", "pool")

    def __init__(
        self, board: Board, pool: Pool | None, first: Sequence[Standing] = (), is_sorted: bool = False
    ) -> None:
        self.board = board
        self.pool = pool
        """None: everyone on the board, which is not empty; and the stage is never changed."""
        self.first = first
        """Taken in this order, before the rest."""
        self.is_sorted = is_sorted
        """``first`` holds everyone: there is no rest to rank."""


class Plan:
    """See the module. Made by `router.Router.plan`."""

    __slots__ = (
        "_at",
        "_explore",
        "_home",
        "_overlay",
        "_params",
        "_rng",
        "_single",
        "_stages",
        "_tried",
        "ask",
        "lanes",
        "model",
        "refused",
        "sights",
        "why",
    )

    def __init__(
        self,
        stages: list[Stage],
        overlay: Overlay | None,
        explore: bool,
        single: bool,
        rng: Random,
        params: Params,
        ask: Ask,
        home: Home | None = None,
    ) -> None:
        self._stages = stages
        self._at = 0
        self._overlay = overlay
        self._explore = explore
        self._single = single
        self._rng = rng
        self._params = params
        self._tried: list[EndpointState] = []
        self._home = home
        """Where its prompt is cached."""
        board = stages[0].board
        self.model = board.model
        """The model being tried now."""
        self.ask = ask
        self.sights: tuple[Sight, ...] = board.sights
        """What it was chosen from: before the first choice, and at later ones; none of these is ever changed."""
        self.lanes: tuple[Lane, ...] | None = board.lanes
        """What was laid down for it; None: `tell` says."""
        self.refused: tuple[EmptyPool, ...] = ()
        """Models it passed over because none of their endpoints may serve the request."""

    def next(self, now_us: int, spare: bool = False) -> Endpoint | None:
        """The best usable untried endpoint of the current model, now marked tried; None when there is none.

        ``spare``: for a second attempt beside a live one. Then None where that endpoint has no room for more: insurance
        must not load what is loaded already.
        """
        tried = self._tried
        if tried and self._single:
            return None
        stage = self._stages[self._at]
        board = stage.board
        if board.queue or board.revision != board.prior.revision or board.prior.has_moved:
            board.refresh(now_us)
        if tried or self._at:
            self._look_again(board, now_us)
        chosen: Standing | None = None
        for standing in stage.first:
            if self._is_usable(stage, standing, now_us) and self._get_effective(stage, standing, now_us) >= 0.0:
                chosen = standing
                self.why = Why.FIRST
                break
        if chosen is None and self._explore and not tried:
            chosen = self._sample(stage, now_us)
        if chosen is None:
            self.why = _BEST
            chosen = self._pick_ranked(stage, now_us) if stage.pool is None else self._pick(stage, stage.pool, now_us)
            if chosen is not None and not chosen.state.has_room(self._params):
                chosen = self._find_room(stage, now_us) or chosen
            if self._home is not None and chosen is not None:
                chosen = self._stay(stage, self._home, chosen, now_us)
            if stage.pool is not None:
                stage.pool.verified_only = False
        if chosen is None or (spare and not chosen.state.has_room(self._params)):
            return None
        return self._take(chosen, now_us)

    def more_here(self, now_us: int) -> bool:
        """Whether the current model has an untried endpoint left, believed out or not."""
        return self._has_untried(self._stages[self._at], now_us)

    def more(self, now_us: int) -> bool:
        """Whether any endpoint is left: on this model, on a fallback model, or as last resort."""
        return any(self._has_untried(stage, now_us) for stage in self._stages)

    def earliest_cooled_us(self, now_us: int, avoid: Collection[str] = ()) -> tuple[Endpoint, int] | None:
        """The cooling endpoint of the current model that frees first, tried or not but not in ``avoid``, and when."""
        stage = self._stages[self._at]
        cooling = [
            s.state
            for s in stage.board.members
            if s.state.cooling_until_us > now_us
            and s.state.id not in avoid
            and (stage.pool is None or stage.pool.admits(s))
        ]
        if self._single and self._tried:
            cooling = [state for state in cooling if state in self._tried]
        if not cooling:
            return None
        first = min(cooling, key=lambda state: (state.cooling_until_us, state.index))
        return first.endpoint, first.cooling_until_us

    def mark(self, endpoint: Endpoint) -> None:
        """Count an endpoint that was waited for as tried."""
        for standing in self._stages[self._at].board.members:
            state = standing.state
            if state.id == endpoint.id and state not in self._tried:
                self._tried.append(state)

    def advance(self, now_us: int) -> bool:
        """On to the next fallback model; False when there is none."""
        if self._at + 1 >= len(self._stages) or (self._single and self._tried):
            return False
        self._at += 1
        self.model = self._stages[self._at].board.model
        return True

    def last_resort(self, now_us: int, here: bool = False) -> Endpoint | None:
        """The best untried endpoint though believed out; None when all were tried or are cooling.

        Of all models, or, with ``here``, of the current one.
        """
        if self._single and self._tried:
            return None
        best: Standing | None = None
        best_score = NEVER
        best_at = self._at
        for at, stage in enumerate(self._stages):
            if here and at != self._at:
                continue
            for standing in stage.board.members:
                if self._is_usable(stage, standing, now_us):
                    score = (1.0 - self._get_belief(standing, now_us)) * standing.composite
                    if score > best_score:
                        best, best_score, best_at = standing, score, at
        if best is None:
            return None
        # What follows is of this model again: an answer that it begins is continued by no other.
        self._at = best_at
        board = self._stages[best_at].board
        self.model = board.model
        self.why = Why.LAST_RESORT
        self._look_again(board, now_us)
        return self._take(best, now_us)

    def get_dearest(self) -> Price:
        """The highest price on each side that any endpoint asks that this request may go to, whatever happens."""
        prices: list[Price] = []
        for stage in self._stages:
            pool = stage.pool
            if pool is None:
                prices.append(stage.board.get_dearest())
            else:
                prices += [s.state.endpoint.price for s in stage.board.members if pool.admits(s)]
        return compute_dearest(prices)

    def require(self, features: frozenset[str] = frozenset(), context_over: int | None = None) -> None:
        """Narrow what follows, on every model: these features too, and a context window above ``context_over``."""
        for at, stage in enumerate(self._stages):
            pool = stage.pool
            if pool is None:
                # A stage without filters may be shared with other plans.
                self.lanes = None
                pool = Pool(Ask(stage.board.model), ModelRules(stage.board.model), None, 0.0)
                self._stages[at] = Stage(stage.board, pool, stage.first)
            pool.features |= features
            if context_over is not None:
                pool.context = max(pool.context, context_over + 1)

    # What to tell of it afterwards

    def tell(self) -> tuple[Lane, ...]:
        """What was laid down for each of its models, in their order, those passed over first; nothing alive."""
        if self.lanes is not None:
            return self.lanes
        stages, preferences = self._stages, self.ask.preferences
        refused = [lane for error in self.refused for lane in error.lanes]
        return (*refused, *[_tell(stage, preferences) for stage in stages])

    def _look_again(self, board: Board, now_us: int) -> None:
        sight = board.looks.look_again(board, now_us)
        if sight is not self.sights[-1] and len(self.sights) < MAX_SIGHTS:
            self.sights = (*self.sights, sight)

    # Who is usable

    def _is_usable(self, stage: Stage, standing: Standing, now_us: int) -> bool:
        state = standing.state
        return (
            state.cooling_until_us <= now_us
            and state not in self._tried
            and (stage.pool is None or stage.pool.admits(standing))
        )

    def _has_untried(self, stage: Stage, now_us: int) -> bool:
        if self._single and self._tried:
            return False
        return any(self._is_usable(stage, s, now_us) for s in stage.board.members)

    def _take(self, standing: Standing, now_us: int) -> Endpoint:
        state = standing.state
        self._tried.append(state)
        if state.suspect:
            state.trial_until_us = now_us + self._params.trial_us
        return state.endpoint

    # What each is worth

    def _get_belief(self, standing: Standing, now_us: int) -> float:
        state, params = standing.state, self._params
        belief = state.get_belief(now_us, params)
        if self._overlay is not None:
            own = self._overlay.get(standing.cell)
            if own is not None:
                belief = max(belief, own.get_belief(now_us, params))
        return belief

    def _get_effective(self, stage: Stage, standing: Standing, now_us: int) -> float:
        """What routing compares; `NEVER` while believed out and not due for a try."""
        state, params = standing.state, self._params
        composite = standing.composite
        own = None if self._overlay is None else self._overlay.get(standing.cell)
        if own is not None:
            board = stage.board
            log_ttft, success = self._blend(standing.cell, own, now_us)
            reputation = board.compute_reputation(board.compute_latency(log_ttft), success, standing.cell.uptime)
            composite = board.compute_composite(standing, reputation)
        elif not state.suspect:
            return composite
        belief = state.get_belief(now_us, params)
        if own is not None:
            belief = max(belief, own.get_belief(now_us, params))
        if belief <= params.belief_suspect:
            if own is None:
                state.suspect = False
            return composite
        if belief > params.belief_out or now_us < state.hold_until_us:
            return NEVER
        if now_us < state.trial_until_us:
            return (1.0 - belief) * composite
        return max((1.0 - belief) * composite, composite - params.trial_cost * belief)

    def view(self, board: Board, standing: Standing, now_us: int) -> View:
        """One endpoint as this named session sees it: its own observations blended over everyone's."""
        cell = standing.cell
        own = None if self._overlay is None else self._overlay.get(cell)
        log_ttft, success = cell.log_ttft, cell.success
        if own is not None:
            log_ttft, success = self._blend(cell, own, now_us)
        latency = board.compute_latency(log_ttft)
        reputation = board.compute_reputation(latency, success, cell.uptime)
        composite = board.compute_composite(standing, reputation)
        return View(log_ttft, success, latency, reputation, composite, self._get_belief(standing, now_us))

    def _blend(self, cell: CellState, own: SessionCell, now_us: int) -> tuple[float, float]:
        """Log TTFT and success rate of a cell, moved by what this session saw of it."""
        params = self._params
        decay = compute_session_decay(now_us - own.at_us, params)
        worth = min(params.history_prior_requests, cell.evidence + params.prior_success_requests)
        success = compute_blended_success(cell.success, worth, own.requests * decay, own.failures * decay)
        if not own.timed:
            return cell.log_ttft, success
        seen = own.log_sum / own.timed
        return compute_blended_log(cell.log_ttft, cell.mean, worth, seen, own.timed * decay), success

    # Choosing

    def has_room(self, now_us: int) -> bool:
        """Whether any endpoint of the current model would take one more request, as far as is known."""
        return self._find_room(self._stages[self._at], now_us) is not None

    def _find_room(self, stage: Stage, now_us: int) -> Standing | None:
        """The best that is below its learned limit: one more on a full one would be refused, or make it slow."""
        best: Standing | None = None
        best_score = NEVER
        for standing in stage.board.members:
            if standing.composite <= best_score:
                break
            if standing.state.has_room(self._params) and self._is_usable(stage, standing, now_us):
                score = self._get_effective(stage, standing, now_us)
                if score > best_score:
                    best, best_score = standing, score
        return best

    def _stay(self, stage: Stage, home: Home, chosen: Standing, now_us: int) -> Standing:
        """The home of the prompt's cache, unless ``chosen`` gains more than the cache is worth."""
        standing = stage.board.by_state.get(home.state)
        if (
            standing is None
            or standing is chosen
            or not standing.state.has_room(self._params)
            or not self._is_usable(stage, standing, now_us)
        ):
            return chosen
        effective = self._get_effective(stage, standing, now_us)
        ask, params = self.ask, self._params
        prompt = ask.input_tokens or home.tokens
        task = params.get_task(stage.board.task)
        saved = compute_saved_share(
            home.state.endpoint.price,
            prompt,
            min(ask.output_tokens or task.output_tokens, task.output_tokens),
            min(home.tokens, prompt) * home.state.cache_hits,
        )
        gain = compute_cached_price_score(standing.price_score, saved, params) - standing.price_score
        worth = stage.board.compute_gain(standing, gain)
        if effective <= NEVER or effective + worth < self._get_effective(stage, chosen, now_us):
            return chosen
        self.why = Why.CACHE
        return standing

    def _pick(self, stage: Stage, pool: Pool, now_us: int) -> Standing | None:
        """By rank; those verified first where only they are trusted, those proven to meet a tier's bar first in it."""
        if stage.is_sorted:
            return None
        if stage.board.verified_first:
            # Left set on success: who has room, or the cache, must be of the verified too.
            pool.verified_only = True
            chosen = self._pick_barred(stage, pool, now_us)
            if chosen is not None:
                return chosen
            pool.verified_only = False
        return self._pick_barred(stage, pool, now_us)

    def _pick_barred(self, stage: Stage, pool: Pool, now_us: int) -> Standing | None:
        if pool.min_reputation is None:
            return self._pick_ranked(stage, now_us)
        pool.proven_only = True
        chosen = self._pick_ranked(stage, now_us)
        pool.proven_only = False
        return chosen or self._pick_ranked(stage, now_us)

    def _pick_ranked(self, stage: Stage, now_us: int) -> Standing | None:
        board, overlay = stage.board, self._overlay
        tried, pool = self._tried, stage.pool
        members, width = board.members, self._params.class_width
        plain = pool is None and not tried and not overlay
        if plain:
            # The usual case: nobody can be better than the head, unless something is the matter with it.
            head = members[0]
            state = head.state
            if not state.suspect and state.cooling_until_us <= now_us:
                least = head.composite - width
                if len(members) < 2 or members[1].composite < least:
                    return head
                return self._balance(stage, head, least, now_us, plain)
        best: Standing | None = None
        best_score = NEVER
        own_best: Standing | None = None
        own_score = NEVER
        if overlay:
            # What the session knows better than the board is scored for itself.
            for cell in overlay:
                standing = board.by_state.get(cell.endpoint)
                if standing is not None and standing.cell is cell and self._is_usable(stage, standing, now_us):
                    score = self._get_effective(stage, standing, now_us)
                    if score > own_score:
                        own_best, own_score = standing, score
        for standing in members:
            # The composite bounds the effective score: nobody further down can be better.
            composite = standing.composite
            if composite <= best_score:
                break
            state = standing.state
            if (
                state.cooling_until_us > now_us
                or state in tried
                or (pool is not None and not pool.admits(standing))
                or (overlay and standing.cell in overlay)
            ):
                continue
            score = self._get_effective(stage, standing, now_us) if state.suspect else composite
            if score > best_score:
                best, best_score = standing, score
        if best is None or own_score >= best_score - width:
            # A conversation stays where it is, and where its prompt is cached, while that is in the best class.
            if own_best is None or own_score <= NEVER:
                return best
            self.why = Why.SESSION
            return own_best
        if len(members) < 2 or (best is members[0] and members[1].composite < best_score - width):
            return best
        return self._balance(stage, best, best_score - width, now_us, plain)

    def _balance(self, stage: Stage, best: Standing, least: float, now_us: int, plain: bool) -> Standing:
        """Of two at random in the best class the less loaded; the better where loads are equal.

        ``plain``: nobody on the board is filtered out, tried already, or known better to a session.
        """
        self.why = _CLASS
        board, draw = stage.board, self._rng.random
        members, count = board.members, board.count_within(least)
        if plain and count > 1:
            # Two different ones, where both are as they seem: the usual case, without a second draw.
            at, other = int(draw() * count), int(draw() * (count - 1))
            one, two = members[at], members[other + 1 if other >= at else other]
            a, b = one.state, two.state
            if not (a.suspect or b.suspect or a.cooling_until_us > now_us or b.cooling_until_us > now_us):
                a_load, b_load = a.in_flight / a.limit, b.in_flight / b.limit
                return one if a_load < b_load or (a_load == b_load and one.key <= two.key) else two
        first: Standing | None = None
        refused: Standing | None = None
        for _ in range(DRAWS):
            standing = members[int(draw() * count)]
            if standing is first or standing is refused:
                continue
            state = standing.state
            if (not plain or state.suspect or state.cooling_until_us > now_us) and not (
                self._is_usable(stage, standing, now_us) and self._get_effective(stage, standing, now_us) >= least
            ):
                refused = standing
                continue
            if first is None:
                first = standing
                continue
            one, two = (first, standing) if first.key <= standing.key else (standing, first)
            return two if two.state.in_flight / two.state.limit < one.state.in_flight / one.state.limit else one
        return best

    def _sample(self, stage: Stage, now_us: int) -> Standing | None:
        """Thompson sampling over the head of the ranking and a few at random from the rest.

        Success is sampled as of now, so whoever failed when last seen is looked at again; TTFT changes less, and is
        sampled by all the evidence there is.
        """
        params, rng = self._params, self._rng
        members = stage.board.members
        drawn: Sequence[Standing] = members
        if len(members) > params.sample_top + params.sample_rest:
            rest = range(params.sample_rest)
            span = len(members) - params.sample_top
            drawn = [
                *members[: params.sample_top],
                *(members[params.sample_top + int(rng.random() * span)] for _ in rest),
            ]
        self.why = Why.SAMPLE
        best: Standing | None = None
        best_score = NEVER
        for standing in drawn:
            if not self._is_usable(stage, standing, now_us):
                continue
            effective = self._get_effective(stage, standing, now_us)
            if effective == NEVER:
                continue
            cell = standing.cell
            # What is known of its success *now*: a little of what history says, and what was seen lately.
            weight = params.sample_success_requests
            session = cell.session
            if session is not None:
                weight += session.requests * compute_session_decay(now_us - session.at_us, params)
            success = rng.betavariate(weight * cell.success + 1e-3, weight * (1.0 - cell.success) + 1e-3)
            log_ttft = rng.gauss(cell.log_ttft, params.prior_ttft_log_sd / math.sqrt(1.0 + cell.evidence))
            board = stage.board
            reputation = board.compute_reputation(board.compute_latency(log_ttft), success, cell.uptime)
            score = board.compute_composite(standing, reputation) + effective - standing.composite
            if score > best_score:
                best, best_score = standing, score
        return best


def _tell(stage: Stage, preferences: Preferences | None) -> Lane:
    lane = stage.board.lanes[0]
    if preferences is None and stage.pool is None:
        return lane
    order: tuple[str, ...] = ()
    if preferences is not None and preferences.order:
        names = get_names(preferences.order[:MAX_NAMED])
        order = tuple([s.state.id for s in stage.first[:MAX_NAMED] if is_named(s.state, names)])
    sort = preferences.sort if preferences is not None and stage.is_sorted else None
    return replace(tell_lane(stage.board, stage.pool), order=order, sort=sort)


def tell_lane(board: Board, pool: Pool | None) -> Lane:
    """What was laid down for a board's model, with the request's own filters where they are short."""
    is_kept = pool is None or pool.is_short()
    return replace(board.lanes[0], pool=pool if is_kept else None, is_pool_kept=is_kept)
