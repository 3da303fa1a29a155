"""How an endpoint is right now, apart from its history: what one process tells another that has just begun.

History travels as windows. What is left is short-lived (outage belief, cooling, learned concurrency, the
gateway-wide session), and without it a process that begins among others would for some minutes route
differently from them, and ask an endpoint that is known to be out or cooling.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from providerrank.rules.boards import Boards
from providerrank.rules.rescoring import Due, queue, schedule
from providerrank.rules.session import SessionCell
from providerrank.rules.state import EndpointState


@dataclass(frozen=True, slots=True)
class Lately:
    """The gateway-wide session's decayed counts of one cell, as of ``at_us``."""

    task: str
    at_us: int
    requests: float
    failures: float
    timed: float
    log_sum: float


@dataclass(frozen=True, slots=True)
class Condition:
    """One endpoint's present state; times are Unix microseconds, 0 where nothing is due."""

    endpoint_id: str
    belief: float
    """0..1, as of ``belief_us``."""
    belief_us: int
    hold_until_us: int
    refusals: int
    cooling_until_us: int
    limit: float
    lately: tuple[Lately, ...]


def get_condition(state: EndpointState) -> Condition:
    """Read an endpoint's condition."""
    lately = tuple(
        Lately(cell.task, seen.at_us, seen.requests, seen.failures, seen.timed, seen.log_sum)
        for cell in state.cells.values()
        if (seen := cell.session) is not None
    )
    return Condition(
        state.id,
        state.belief,
        state.belief_us,
        state.hold_until_us,
        state.refusals,
        state.cooling_until_us,
        state.limit,
        lately,
    )


def resume(conditions: Iterable[Condition], boards: Boards, due: Due) -> None:
    """Go on from what another process knows; of an endpoint that is unknown here, nothing."""
    params = boards.params
    for condition in conditions:
        state = boards.endpoints.get(condition.endpoint_id)
        if state is None:
            continue
        state.belief, state.belief_us = condition.belief, condition.belief_us
        state.suspect = condition.belief > params.belief_suspect
        state.hold_until_us, state.refusals = condition.hold_until_us, condition.refusals
        state.cooling_until_us = condition.cooling_until_us
        state.limit = condition.limit
        for lately in condition.lately:
            boards.get_cell(state, lately.task).session = _get_session(lately)
        queue(state)
        if condition.belief_us and not state.refresh_due_us:
            schedule(due, state, condition.belief_us, params)


def _get_session(lately: Lately) -> SessionCell:
    """Build a cell's share of the gateway-wide session."""
    session = SessionCell()
    session.at_us = lately.at_us
    session.requests = lately.requests
    session.failures = lately.failures
    session.timed = lately.timed
    session.log_sum = lately.log_sum
    return session
