"""Which models may serve a request that has wishes of its own, who of each, and who comes first.

A request without wishes takes its model's board as it is (`boards.Boards.plain`) and comes nowhere near here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from providerrank.rules.ask import Ask, EmptyPool, UnknownModel
from providerrank.rules.board import Board
from providerrank.rules.boards import Boards
from providerrank.rules.plan import Stage, tell_lane
from providerrank.rules.pool import Pool, get_empty_pool, get_names, get_needed_context, is_named
from providerrank.rules.state import Standing


def make_stages(boards: Boards, ask: Ask, now_us: int, refused: list[EmptyPool]) -> tuple[list[Stage], bool]:
    """One for each model that may serve; and whether only the first choice may. Those passed over: ``refused``.

    Raises as `router.Router.plan` does.
    """
    names = boards.names
    name = names.get(ask.model)
    if name is None:
        raise UnknownModel(ask.model, boards.models)
    preferences = ask.preferences
    may_fall_back = preferences is None or preferences.allow_fallbacks
    allowed = ask.allowed_models
    fallbacks: Sequence[str] = ()
    if may_fall_back:
        fallbacks = ask.fallback_models or boards.models[name].rules.fallback_models
    stage = _make_stage(boards, name, ask, now_us)
    stages: list[Stage] = []
    if isinstance(stage, Stage):
        stages.append(stage)
    else:
        refused.append(stage)
    for other in fallbacks:
        fallback = names.get(other)
        if allowed is not None and fallback not in allowed:
            continue
        if fallback is not None and fallback != name and all(s.board.model != fallback for s in stages):
            further = _make_stage(boards, fallback, ask, now_us)
            if isinstance(further, Stage):
                stages.append(further)
            else:
                refused.append(further)
    if not stages:
        assert isinstance(stage, EmptyPool)
        raise stage
    return stages, preferences is not None and not may_fall_back and not preferences.order


def is_for_all(ask: Ask, board: Board) -> bool:
    """Whether everybody on the board has what the request needs."""
    return ask.features <= board.common_features and (
        board.smallest_context is None or get_needed_context(ask) <= board.smallest_context
    )


def _make_stage(boards: Boards, model: str, ask: Ask, now_us: int) -> Stage | EmptyPool:
    board = boards.get(model, ask.task, ask.tier, ask.price_cap)
    board.refresh(now_us)
    rules = boards.models[model].rules
    preferences = ask.preferences
    pool: Pool | None = None
    if (
        preferences is not None
        or rules.pin_only
        or board.min_reputation is not None
        or board.verified_first
        or not is_for_all(ask, board)
    ):
        pool = Pool(ask, rules, board.min_reputation, boards.params.unproven_requests)
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
            pinned = boards.endpoints.get(endpoint_id)
            standing = None if pinned is None else board.by_state.get(pinned)
            if standing is not None and standing not in first:
                first.append(standing)
    else:
        by = _SORTS[preferences.sort]
        first += sorted((s for s in board.members if s not in first), key=by)
        return Stage(board, pool, first, is_sorted=True)
    return Stage(board, pool, first)


def _refuse(board: Board, pool: Pool, now_us: int) -> EmptyPool:
    """Nobody on the board may serve the request; keep with the error what it takes to explain it."""
    error = get_empty_pool(board, pool)
    error.sights = (board.looks.look_again(board, now_us),)
    error.lanes = (replace(tell_lane(board, pool), refused=str(error)),)
    return error


def _get_price(standing: Standing) -> float:
    return standing.cost_nusd


def _get_ttft(standing: Standing) -> float:
    return standing.cell.log_ttft


def _get_slowness(standing: Standing) -> float:
    window = standing.state.window if standing.cell.window is None else standing.cell.window
    throughput = window.throughput
    return 0.0 if throughput is None else -throughput


_SORTS = {"price": _get_price, "latency": _get_ttft, "throughput": _get_slowness}
