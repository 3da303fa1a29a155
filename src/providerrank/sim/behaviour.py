"""What an endpoint is like at a moment: the seam between a recording and a server.

A *behaviour* is a function of time. A scenario file, a recorded series (``sim.worlds``) and a test
each provide one; the server asks it once for every request and draws the request's fate from the
answer. Nothing here draws or measures: the same behaviour drives the server over real sockets and
the simulation in virtual time, and an oracle may read the truth from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from providerrank.sim.faults import Fault


@dataclass(frozen=True, slots=True)
class State:
    """The truth about one endpoint at one moment.

    ``success`` is the probability 0..1 that a request beginning now is answered. Time to first token
    is log-normal: ``ttft_median_s`` seconds (0 and up; 0 answers at once) and ``ttft_sigma``, the
    standard deviation of its natural logarithm. ``tokens_per_s`` None is as fast as the socket takes
    them. ``fault_on_failure`` is what a request meets that is not answered.
    """

    success: float = 1.0
    ttft_median_s: float = 0.0
    ttft_sigma: float = 0.0
    tokens_per_s: float | None = None
    fault_on_failure: Fault = Fault.STATUS_503


class Behaviour(Protocol):
    """An endpoint's truth as a function of time."""

    def at(self, t_s: float) -> State:
        """Return the state ``t_s`` seconds (0 and up) after the world's clock was started."""
        ...


@dataclass(frozen=True, slots=True)
class Steady:
    """The same at every moment."""

    state: State = State()

    def at(self, t_s: float) -> State:
        """Return the one state there is."""
        return self.state
