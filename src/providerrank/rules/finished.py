"""One request that is over, as a value: what logs, traces, histograms and explanations are made from.

It only refers to what the request has made anyway, so that keeping thousands costs a request next to nothing; and to
nothing alive: no router, connection or body hangs on it. Never a prompt, an answer or a key, and no sentence of an
endpoint's, which may quote one. A Struct for the reason that `observation` gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from providerrank.rules.ask import Ask
from providerrank.rules.attempt import Attempt
from providerrank.rules.sight import Lane, Sight

CLIENT_LEFT = 499
"""In place of a status: the client went away before its answer was whole. nginx's number for it."""

MAX_ATTEMPTS = 32
"""Of one request, kept: the first and the last half of it."""

MAX_TEXT = 200
"""Characters kept of a name that a client has made up."""


Usages = tuple[int, int, int]
"""Prompt tokens, completion tokens, and what they cost in nano-USD."""
NO_USAGE: Usages = (0, 0, 0)


class Trace(msgspec.Struct, frozen=True, gc=False):
    """Where a request belongs in a trace, as W3C Trace Context has it; numbers, as they are compared."""

    trace_id: int
    span_id: int
    """Of the request here."""
    parent_id: int | None
    """The caller's span; None: the trace begins here."""
    attempt_base: int
    """Span id of attempt ``k``, from 0: ``(attempt_base + k) mod 2^64``."""


class Finished(msgspec.Struct, gc=False):
    """See the module. Times are Unix microseconds."""

    request_id: bytes
    api: str
    ask: Ask
    stream: bool
    status: int
    """What the client was told, `CLIENT_LEFT`, or, where a stream was broken off, what it would have been told."""
    log: tuple[Attempt, ...]
    lanes: tuple[Lane, ...] = ()
    sights: tuple[Sight, ...] = ()
    usage: Usages = NO_USAGE
    began_us: int = 0
    ended_us: int = 0
    """0 for both: those of its only attempt, which answered."""
    code: str = ""
    """Of the error the client was told, where it is ours."""
    is_broken_off: bool = False
    """The client has part of an answer, and an error event after it."""
    attempts: int = 0
    """Where more were made than are kept."""
    key: str | None = None
    """Name of the buyer's key; None: keys have no names."""
    trace: Trace | None = None
    is_probe: bool = False
    """Nobody's request: ours, of an endpoint that nobody asked (see `idle_probes`)."""

    @property
    def at_us(self) -> int:
        """When it began."""
        return self.began_us or self.log[0].started_us

    @property
    def total_us(self) -> int:
        """How long it took."""
        ended_us = self.ended_us or self.log[0].ended_us
        return 0 if ended_us is None else ended_us - self.at_us

    @property
    def answered(self) -> Attempt | None:
        """The attempt whose answer the client has, whole; None: it has none, or a refusal."""
        if self.status != 200:
            return None
        whole = [one for one in self.log if one.fault is None and one.ended_us is not None and not one.beaten]
        return max(whole, key=lambda one: one.ended_us or 0) if whole else None

    @property
    def ttft_us(self) -> int | None:
        """From the request's beginning to the first content the client was sent; None: it was sent none."""
        if self.stream:
            firsts = [one.first_content_us for one in self.log if one.first_content_us is not None]
        else:
            answered = self.answered
            firsts = [] if answered is None or answered.first_content_us is None else [answered.first_content_us]
        return min(firsts) - self.at_us if firsts else None

    def get_outcome(self, attempt: Attempt) -> str:
        """How one of its attempts ended, in one word of a closed set: ``answered``, ``abandoned``, or the fault."""
        if attempt.fault is not None:
            return attempt.fault.name.lower()
        return "answered" if attempt is self.answered else "abandoned"


def get_cut_ask(ask: Ask) -> Ask:
    """An ask whose every name is bounded."""
    session = None if ask.session is None else ask.session[:MAX_TEXT]
    tier = None if ask.tier is None else ask.tier[:MAX_TEXT]
    return Ask(ask.model[:MAX_TEXT], (), ask.task[:MAX_TEXT], tier, session, ask.features)


def get_kept_log(log: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """A log without its middle, where it is long."""
    if len(log) <= MAX_ATTEMPTS:
        return tuple(log)
    half = MAX_ATTEMPTS // 2
    return (*log[:half], *log[-half:])
