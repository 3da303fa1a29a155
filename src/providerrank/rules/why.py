"""Why an endpoint was chosen for an attempt: said by whoever chose, kept with the attempt."""

from __future__ import annotations

import enum


class Why(enum.Enum):
    """The reason of a choice. The values are shown to programs; their meaning never changes."""

    BEST = "best"
    """The highest score of those that could be tried."""
    CLASS = "class"
    """One of the best class, where load decides."""
    FIRST = "first"
    """Comes first by the request's order or sort, or by the operator's pins."""
    SAMPLE = "sample"
    """Drawn by its chance of being the best: exploration."""
    SESSION = "session"
    """The best in the eyes of the request's own session."""
    CACHE = "cache"
    """Its prompt is cached there, and nobody gains more than that cache saves."""
    HEDGE = "hedge"
    """The next best, asked beside one that was slow."""
    LAST_RESORT = "last_resort"
    """Believed out, and nobody else was left."""
    RETRY = "retry"
    """The same endpoint once more: the model's last, after a failure that may pass."""
    WAITED = "waited"
    """Its rate limit was waited for."""
    PROBE = "probe"
    """Nobody had asked it for a while, and so we did: no client's request."""
