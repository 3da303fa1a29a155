"""What is scored anew, and when: queued by what is seen, and again later while a fading session still moves it.

An observation queues the standings of its endpoint, for the next reader of their boards. The gateway-wide session fades
without being observed, so a heap says when each endpoint is due to be queued again: soon at first, then at steps
that double, until what is left of the session is negligible.
"""

from __future__ import annotations

import heapq
from typing import TypeAlias

from providerrank.rules.params import Params
from providerrank.rules.session import compute_session_decay
from providerrank.rules.state import EndpointState

Due: TypeAlias = list[tuple[int, int, EndpointState]]
"""A heap, the earliest first: when, the endpoint's position (it breaks ties), the endpoint."""


def queue(state: EndpointState) -> None:
    """Have the endpoint scored anew on every board it stands on."""
    for cell in state.cells.values():
        cell.fresh = False
    for standing in state.standings:
        if not standing.queued:
            standing.queued = True
            standing.queue.append(standing)


def schedule(due: Due, state: EndpointState, now_us: int, params: Params) -> None:
    """Have the endpoint queued again later."""
    # The longer ago the last observation, the slower the session fades: so the steps double.
    state.refresh_due_us = now_us + max(params.refresh_us, now_us - state.belief_us)
    heapq.heappush(due, (state.refresh_due_us, state.index, state))


def revisit(due: Due, now_us: int, params: Params) -> None:
    """Queue what is due, and schedule again what the fading session still moves."""
    while due and due[0][0] <= now_us:
        state = heapq.heappop(due)[2]
        state.refresh_due_us = 0
        queue(state)
        if any(
            cell.session is not None
            and cell.session.requests * compute_session_decay(now_us - cell.session.at_us, params)
            > params.session_negligible_requests
            for cell in state.cells.values()
        ):
            schedule(due, state, now_us, params)


def renumber(due: Due) -> None:
    """Positions have changed."""
    due[:] = [(due_us, state.index, state) for due_us, _, state in due]
    heapq.heapify(due)
