"""Session-level re-ranking: what one stretch of work has seen moves the blend of each cell it touched.

History counts as a prior worth ``min(20, its evidence)`` requests. With ``n`` decayed session observations (half-life
2 min):

* *latency*, in the log domain: history's measure moves by ``n / (n + prior)`` of the difference between the
  session's mean log TTFT and history's. A lower TTFT than history lifts an endpoint, a higher one lowers it.
* *reliability*: the session's successes and blamed failures are added to the prior's.

The gateway as a whole is one session, shared by all requests; a named session is an overlay on it that holds only
the cells it touched, with an outage belief of its own. What routes a named request is the blend of all three, and the
greater of the two beliefs. Named sessions are bounded: the one unused longest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic, TypeVar

from providerrank.rules.belief import compute_belief
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS, Params

C = TypeVar("C")

_SUCCESS: Final = Outcome.SUCCESS


class SessionCell:
    """Decayed counts of one cell in one session, as of ``at_us``."""

    __slots__ = ("at_us", "belief", "failures", "log_sum", "requests", "timed")

    def __init__(self) -> None:
        self.at_us = 0
        self.requests = 0.0
        self.failures = 0.0
        self.timed = 0.0
        self.log_sum = 0.0
        """Of log TTFT in microseconds, over the timed."""
        self.belief = PARAMS.belief_floor
        """The named session's own outage belief; unused in the shared session, where it is the endpoint's."""

    def observe(self, obs: Observation, log_ttft: float | None, blame: float, params: Params = PARAMS) -> None:
        """Add one observation, O(1); ``blame`` is the share of a failure no outage explains."""
        decay = 1.0
        elapsed_us = obs.at_us - self.at_us
        if elapsed_us > 0:
            self.at_us = obs.at_us
            decay = 2.0 ** (-elapsed_us / params.session_half_life_us)
        outcome = obs.outcome
        failed = 0.0
        if outcome is _SUCCESS:
            weight = 1.0
        elif outcome is Outcome.RATE_LIMITED:
            weight = failed = params.rate_limited_weight
        elif outcome is Outcome.SCHEMA_VIOLATION:
            weight = failed = 1.0
        else:
            weight = failed = blame
        self.requests = self.requests * decay + weight
        if failed or self.failures:
            self.failures = self.failures * decay + failed
        if log_ttft is None:
            self.timed *= decay
            self.log_sum *= decay
        else:
            self.timed = self.timed * decay + 1.0
            self.log_sum = self.log_sum * decay + log_ttft

    def get_belief(self, now_us: int, params: Params = PARAMS) -> float:
        """The named session's own probability, at ``now_us``, that the endpoint is out."""
        return compute_belief(self.belief, now_us - self.at_us, params)


def compute_session_decay(elapsed_us: int, params: Params = PARAMS) -> float:
    """What is left of a session's evidence after ``elapsed_us``."""
    return float(2.0 ** (-elapsed_us / params.session_half_life_us)) if elapsed_us > 0 else 1.0


def compute_blended_log(
    history_log: float, history_mean: float, prior_requests: float, session_mean: float, session_requests: float
) -> float:
    """History's log latency, moved towards the session's."""
    weight = session_requests / (session_requests + prior_requests)
    return history_log + weight * (session_mean - history_mean)


def compute_blended_success(
    history_success: float, prior_requests: float, session_requests: float, session_failures: float
) -> float:
    """History's success rate as a prior worth ``prior_requests``, updated by the session's counts."""
    return (prior_requests * history_success + session_requests - session_failures) / (
        prior_requests + session_requests
    )


class SessionCells(dict[C, SessionCell]):
    """What one named session touched, the most recently used last."""

    __slots__ = ("attempts", "began_us")

    def __init__(self, began_us: int) -> None:
        super().__init__()
        self.began_us = began_us
        self.attempts = 0
        """Observations it has ever had."""


@dataclass(frozen=True, slots=True)
class SeenCell:
    """One cell as a named session knows it, at one moment."""

    endpoint_id: str
    task: str
    requests: float
    """Decayed, with a half-life of two minutes; so are the failures."""
    failures: float
    belief: float
    """The session's own outage belief, 0..1."""


@dataclass(frozen=True, slots=True)
class SeenSession:
    """One named session, at one moment."""

    name: str
    began_us: int
    last_us: int
    attempts: int
    cells: tuple[SeenCell, ...]
    """The most recently used first."""


class Sessions(Generic[C]):
    """Named sessions by their name, each with its `SessionCell` of what it touched; both bounded."""

    __slots__ = ("_by_name", "cells_limit", "limit")

    def __init__(self, limit: int, cells_limit: int) -> None:
        self.limit = limit
        self.cells_limit = cells_limit
        # Not a plain dict: dropping its first key again and again would scan what was dropped before.
        self._by_name: OrderedDict[str, SessionCells[C]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> SessionCells[C] | None:
        """The session's cells, the most recently used last; None when unknown."""
        return self._by_name.get(name)

    def get_latest(self, limit: int) -> list[tuple[str, SessionCells[C]]]:
        """The sessions used last, the latest first."""
        return list(islice(reversed(self._by_name.items()), limit))

    def touch(self, name: str, cell: C, now_us: int = 0) -> SessionCell:
        """The session's view of a cell, begun if need be; session and cell are now the most recently used."""
        cells = self._by_name.get(name)
        if cells is None:
            cells = self._by_name[name] = SessionCells(now_us)
            if len(self._by_name) > self.limit:
                self._by_name.popitem(last=False)
        else:
            self._by_name.move_to_end(name)
        cells.attempts += 1
        view = cells.pop(cell, None)
        if view is None:
            view = SessionCell()
            if len(cells) >= self.cells_limit:
                del cells[next(iter(cells))]
        cells[cell] = view
        return view
