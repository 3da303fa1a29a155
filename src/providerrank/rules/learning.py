"""What one attempt teaches of its endpoint, part by part; `router.Router.observe` puts the parts together."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import Final

from providerrank.rules.belief import compute_bounded_belief, compute_posterior
from providerrank.rules.observation import Outcome
from providerrank.rules.params import Params
from providerrank.rules.session import SessionCell
from providerrank.rules.state import CellState, EndpointState
from providerrank.rules.window import Window

_SUCCESS: Final = Outcome.SUCCESS


def update_belief(state: EndpointState, outcome: Outcome, failure_rate: float, now_us: int, params: Params) -> float:
    """Update the endpoint's belief; returns the share of a failure that no outage explains."""
    if outcome is _SUCCESS and state.belief <= params.belief_floor:
        learn_limit(state, outcome, now_us, params)
        state.belief_us = now_us
        return 1.0
    posterior = compute_posterior(state.get_belief(now_us, params), outcome, failure_rate, params)
    belief = state.belief = compute_bounded_belief(posterior, params)
    state.belief_us = now_us
    state.suspect = belief > params.belief_suspect
    learn_limit(state, outcome, now_us, params)
    return 0.0 if outcome is Outcome.REFUSED_US else 1.0 - posterior


def learn_limit(state: EndpointState, outcome: Outcome, now_us: int, params: Params) -> None:
    """What an outcome says of how many requests the endpoint takes at once, and of when to come back."""
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


def learn_crowd(state: EndpointState, cell: CellState, shared: SessionCell, now_us: int, params: Params) -> None:
    """Many requests are in flight: lower the limit where the endpoint has become slow under them."""
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


def account(
    state: EndpointState,
    window: Window,
    now_us: int,
    out_until_us: int,
    has_turned: bool,
    changed: MutableMapping[CellState, None],
) -> None:
    """Account uptime since the last observation, as believed meanwhile; cells that moved go to ``changed``."""
    if has_turned:
        # It went out or came back: for all its cells.
        for other in state.cells.values():
            if other.window is not None:
                _elapse(other.window, now_us, out_until_us)
                changed[other] = None
    else:
        _elapse(window, now_us, out_until_us)
    if state.window is not window:
        _elapse(state.window, now_us, out_until_us)


def begin_window(state: EndpointState, cell: CellState) -> Window:
    """Begin a cell's window, and keep the endpoint's the sum of its cells': the only one's own, or one beside them."""
    window = cell.window = Window()
    others = [c.window for c in state.cells.values() if c.window is not None and c is not cell]
    if not others:
        state.window = window
    elif len(others) == 1:
        state.window = Window.merged(Window(), others[0])
    return window


def _elapse(window: Window, now_us: int, out_until_us: int) -> None:
    """Account the time since the window's last accounting: down while believed out, up from then on."""
    if out_until_us:
        window.elapse(min(now_us, out_until_us), False)
    window.elapse(now_us, True)
