"""Latency insurance: when a second attempt may begin beside a slow one, and how many may in all.

*When.* An attempt of a streamed request that has been silent for longer than the 95th percentile of its cell's TTFT
is among its endpoint's slowest one in twenty. Where TTFTs have a heavy tail (they have: queues, cold starts, lost
packets) what it still has to wait is then longer than what another endpoint would take from the start, and the two
are all but independent. Dean and Barroso, "The Tail at Scale" (CACM 2013), measured it: a second request after the
95th percentile costs a few percent of load and takes most of the tail away.

Where the tail is light a second attempt after the p95 is all but always in vain: the first is about to speak. So it
begins only when, of the TTFTs seen that are as long as this one is by now, at least one in ten
(``hedge_hopeless``) is longer by more than what the model's endpoints usually take; or when none was as long, since
then nothing is known but that it is not as usual.

*How many.* By definition about one request in twenty is slower than the p95, so the premium is at most 5 % of attempts
while endpoints are as they were. When they are not (the whole pool is slow) every request would be hedged, and an
overload doubled. Hence a budget, a token bucket counted in requests and not in time: each request earns ``share`` of
a hedge, a hedge costs one, and what ``hedge_saved_requests`` requests earn can be saved up. It starts empty, so at any
moment

    hedges so far <= share * requests so far.

Nothing refunds one: a hedge that loses has been paid for. Since demand at the p95 is about what is earned, the bucket
is often near empty: who finds it so asks again soon. (To keep a reserve for those who wait longest sounds better and
was worse: slow answers come together, and what is kept for later waits of one run is missing at its beginning.)

*What a loser says.* The attempt that is dropped has shown no content after so long, which counts against nobody, but
is evidence all the same: a *censored* observation, its TTFT is at least that. To forget it would make a slow endpoint
look fast, since of its answers only those that beat the other one would be remembered (see `window` and `belief`).

*What is not hedged.* Whole answers: what they take is mostly how long they are, which another endpoint takes again
from the start, and their first byte is their last. What is dear: long prompts and several choices, of which 5 % of
requests are far more than 5 % of the cost. What has begun: a committed answer is continued, never raced.
"""

from __future__ import annotations

from providerrank.rules.params import PARAMS, Params
from providerrank.rules.window import Window

MILLION = 1_000_000


class HedgeBudget:
    """A token bucket of hedges, filled by requests. Exact: it counts in millionths of a hedge, as integers."""

    __slots__ = ("_counted", "_most", "_params", "_saved", "_share", "requests", "taken")

    def __init__(self, share: float, params: Params = PARAMS) -> None:
        """``share`` of requests, 0..1, may have a second attempt."""
        self._params = params
        self._set(share)
        self._saved = 0
        self._counted = 0
        self.requests = 0
        """Requests so far: whoever begins one counts it here, and need do no more."""
        self.taken = 0
        """Hedges so far."""

    def change(self, share: float) -> None:
        """From now on requests earn this much; what they have earned stays."""
        self._earn()
        self._set(share)

    def _set(self, share: float) -> None:
        self._share = round(share * MILLION)
        self._most = max(MILLION, self._share * self._params.hedge_saved_requests)

    def has_one(self) -> bool:
        """Whether a hedge is paid for."""
        self._earn()
        return self._saved >= MILLION

    def _earn(self) -> None:
        new, self._counted = self.requests - self._counted, self.requests
        self._saved = max(self._saved, min(self._most, self._saved + new * self._share))

    def take(self) -> None:
        """Spend one; `has_one` was True just now."""
        self._saved -= MILLION
        self.taken += 1


def compute_hedge_us(window: Window | None, other_us: float, params: Params = PARAMS) -> int | None:
    """How long an attempt on this cell may be silent before a second one may begin; None: not known well enough.

    ``other_us`` is what another endpoint is expected to take.
    """
    if window is None or window.timed < params.hedge_requests:
        return None
    due_us = max(params.hedge_floor_us, window.p95_us or 0)
    return window.get_lasting_us(due_us, other_us, params.hedge_hopeless)
