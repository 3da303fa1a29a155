"""How long an endpoint takes to write, so that a silent one is told from a slow one.

An answer that is not streamed says nothing until it is whole. Its first-token clock therefore allows for the
writing too: as TCP does for a round trip, the usual time and four times its usual deviation, twice over.
"""

from __future__ import annotations

SLOW_US_PER_TOKEN = 20_000
"""Before anything was seen: 50 tokens a second, slower than nine in ten hosted endpoints."""

SMOOTHING = 0.125
"""Weight of the newest answer in the running means (RFC 6298's alpha)."""

DEVIATIONS = 4.0
"""RFC 6298's K."""

MARGIN = 2.0
"""A busy endpoint writes half as fast as usual and is still alive."""

USUAL_SHARE = 4.0
"""Answers are usually this much shorter than the limit their request sets."""

MAX_STRETCH = 4.0
"""A request for an unusually long answer gets at most this much more time."""


class Pace:
    """Running means of how long one endpoint's answers take and how long they are."""

    __slots__ = ("_deviation_us", "_mean_us", "_tokens")

    def __init__(self) -> None:
        self._mean_us: float | None = None
        self._deviation_us = 0.0
        self._tokens = 0.0

    def observe(self, writing_us: int, tokens: int) -> None:
        """One whole answer: ``writing_us`` from its first content (or, not streamed, from its start) to its end."""
        if self._mean_us is None:
            self._mean_us, self._deviation_us, self._tokens = float(writing_us), writing_us / 2, float(tokens)
            return
        error = writing_us - self._mean_us
        self._deviation_us += SMOOTHING * (abs(error) - self._deviation_us)
        self._mean_us += SMOOTHING * error
        self._tokens += SMOOTHING * (tokens - self._tokens)

    def allow_us(self, limit: int | None, unknown_us: int) -> int:
        """Time to write an answer of at most ``limit`` tokens; ``unknown_us`` where no answer was seen yet."""
        if self._mean_us is None:
            return max(unknown_us, (limit or 0) * SLOW_US_PER_TOKEN)
        usual = MARGIN * (self._mean_us + DEVIATIONS * self._deviation_us)
        stretch = 1.0 if limit is None else limit / (USUAL_SHARE * max(self._tokens, 1.0))
        return int(usual * min(max(stretch, 1.0), MAX_STRETCH))
