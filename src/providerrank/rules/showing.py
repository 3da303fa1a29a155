"""How endpoints stand, for people and metrics: rankings, glances, named sessions. All of it reads, none of it learns.

What is shown is what routing sees, brought up to date: a small board whole, of a large one as much as is asked for.
"""

from __future__ import annotations

import math
from operator import attrgetter
from random import Random

import msgspec

from providerrank.rules.ask import Ask, UnknownModel
from providerrank.rules.board import SMALL, Board
from providerrank.rules.boards import Boards
from providerrank.rules.cells import CHAT
from providerrank.rules.metering import compute_billing_ratio
from providerrank.rules.params import Params
from providerrank.rules.plan import Plan, Stage
from providerrank.rules.pool import Pool, is_verified
from providerrank.rules.ranking import OFFERED, Glance, Ranked, Ranking
from providerrank.rules.reputation import compute_reliability
from providerrank.rules.rescoring import Due, queue, revisit
from providerrank.rules.session import SeenCell, SeenSession, Sessions, compute_session_decay
from providerrank.rules.state import CellState, Standing


class _Placed(msgspec.Struct, gc=False):
    """One endpoint on its way into a ranking."""

    place: tuple[bool, bool, float]
    standing: Standing
    failed: tuple[str, ...]
    shown: str
    belief: float
    effective: float


_get_place = attrgetter("place")


class Showing:
    """Shows the live state of a router, which it shares."""

    __slots__ = ("_boards", "_due", "_params", "_rng", "_sessions")

    def __init__(self, boards: Boards, sessions: Sessions[CellState], due: Due, rng: Random, params: Params) -> None:
        self._boards = boards
        self._sessions = sessions
        self._due = due
        self._rng = rng
        self._params = params

    def has_usable(self, now_us: int) -> bool:
        """Whether any model has an endpoint in its pool that is not believed out; a look at one, as a rule."""
        params = self._params
        for model, model_state in self._boards.models.items():
            rules = model_state.rules
            for standing in self._boards.get(model, CHAT, None).members:
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
        name = self._boards.names.get(model)
        if name is None:
            raise UnknownModel(model, self._boards.models)
        board = self._boards.get(name, task, tier)
        self._bring_up(board, now_us, limit)
        pool = Pool(Ask(name), self._boards.models[name].rules, board.min_reputation, self._params.unproven_requests)
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
        board = self._boards.get(model, CHAT, None)
        self._bring_up(board, now_us, 0)
        pool = Pool(Ask(model), self._boards.models[model].rules, board.min_reputation, self._params.unproven_requests)
        plan = Plan([Stage(board, pool)], None, False, False, self._rng, self._params, Ask(model))
        return [
            Glance(one.standing.state.id, one.effective, one.standing.reputation, one.belief, one.shown)
            for one in self._place(board, plan, pool, False, now_us)
        ]

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

    def _bring_up(self, board: Board, now_us: int, limit: int | None) -> None:
        """Bring a board up to date for showing: all of it, or, of a large one, the ``limit`` best and what changed."""
        if limit is None or len(board.members) <= SMALL or board.revision < 0:
            board.rebuild(now_us, with_settled=True)
            return
        revisit(self._due, now_us, self._params)
        for standing in board.members[:limit]:
            queue(standing.state)
        board.refresh(now_us)

    def _place(self, board: Board, plan: Plan, pool: Pool, in_session: bool, now_us: int) -> list[_Placed]:
        """Every endpoint of a board with what its place in a ranking follows from."""
        params = self._params
        is_open = pool.min_reputation is None and pool.pins is None
        first, placed = board.verified_first, list[_Placed]()
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
                placed.append(_Placed(place, standing, failed, shown, belief, effective))
        return placed

    def _get_row(self, board: Board, placed: _Placed, plan: Plan, rank: int | None, now_us: int) -> Ranked:
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
