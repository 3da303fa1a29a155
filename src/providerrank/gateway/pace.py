"""How long an endpoint takes to write, so that a silent one is told from a slow one.

An answer that is not streamed says nothing until it is whole. Its first-token clock therefore allows for
the writing too: the tokens asked for, at the pace this endpoint was seen to write, with a margin.
"""

from __future__ import annotations

SLOW_US_PER_TOKEN = 20_000
"""Before anything was seen: 50 tokens a second, slower than nine in ten hosted endpoints."""

MARGIN = 3.0
"""A busy endpoint writes this much slower than usual and is still alive."""

SMOOTHING = 0.1
"""Weight of the newest answer in the running means: about the last twenty count."""

TYPICAL_FACTOR = 4.0
"""An answer without a limit may be this much longer than the usual one."""


class Pace:
    """Running means of one endpoint's writing speed and answer length."""

    __slots__ = ("tokens", "us_per_token")

    def __init__(self) -> None:
        self.us_per_token: float | None = None
        self.tokens = 0.0

    def observe(self, writing_us: int, tokens: int) -> None:
        """One whole answer: ``writing_us`` from its first content (or, not streamed, from its start) to its end."""
        if tokens < 1:
            return
        pace = writing_us / tokens
        if self.us_per_token is None:
            self.us_per_token, self.tokens = pace, float(tokens)
        else:
            self.us_per_token += SMOOTHING * (pace - self.us_per_token)
            self.tokens += SMOOTHING * (tokens - self.tokens)

    def allow_us(self, limit: int | None, unknown_us: int) -> int:
        """Time to write an answer of at most ``limit`` tokens; ``unknown_us`` where nothing is known of length or pace."""
        if self.us_per_token is None:
            return max(unknown_us, (limit or 0) * SLOW_US_PER_TOKEN)
        usual = TYPICAL_FACTOR * self.tokens
        tokens = usual if limit is None else min(float(limit), max(usual, 256.0))
        return int(MARGIN * tokens * self.us_per_token)
