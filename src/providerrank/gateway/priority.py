"""Who goes first when not everyone can be served at once.

A request is of high, normal or low (``best-effort``) priority, by the tier it asks for, else by its key. Where there is
room for all, priority changes nothing. It decides in three places:

* **pending requests**: best-effort ones are refused (503) from three quarters of ``max_pending`` on, normal ones leave
  a twentieth to high ones, where anybody is of high priority;
* **endpoints at their learned limits**: where no endpoint of the model has room, a best-effort request waits, within
  patience, until one has; the others are sent, so none of them is ever behind it;
* **rate limits that end**: of those who waited, high ones go first, then normal ones, then the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from providerrank.gateway.settings import BuyerKey, Priority
from providerrank.rules.attempts import PATIENCE_JITTER_US

HIGH: Final = "high"
NORMAL: Final = "normal"
LOW: Final = "best-effort"

LOW_SHARE = 0.75
"""Of ``max_pending``: best-effort requests past it would be in the way of the others."""
NORMAL_SHARE = 0.95

WAKE_US: Mapping[Priority, tuple[int, int]] = {
    HIGH: (0, 0),
    NORMAL: (0, PATIENCE_JITTER_US),
    LOW: (PATIENCE_JITTER_US, 3 * PATIENCE_JITTER_US),
}
"""When those who waited for a rate limit go on after its end: at random between the two."""


class Priorities:
    """What each priority is allowed, by one configuration."""

    __slots__ = ("_by_tier", "_most", "has_any")

    def __init__(self, by_tier: Mapping[str, Priority], keys: tuple[BuyerKey, ...], max_pending: int) -> None:
        given = {*by_tier.values(), *(key.priority for key in keys)}
        self._by_tier = by_tier
        self.has_any = bool(given - {NORMAL})
        """Somebody is of another priority than normal."""
        self._most = {
            HIGH: max_pending,
            NORMAL: max(1, int(max_pending * NORMAL_SHARE)) if HIGH in given else max_pending,
            LOW: max(1, int(max_pending * LOW_SHARE)),
        }

    def get(self, tier: str | None, of_key: Priority | None) -> Priority:
        """The priority of a request; ``of_key``: its key's."""
        by_tier = None if tier is None else self._by_tier.get(tier)
        return by_tier or of_key or NORMAL

    def get_most(self, priority: Priority) -> int:
        """How many requests may be under way when one of this priority comes."""
        return self._most[priority]
