"""Telling our own faults from an endpoint's.

*Network*: who cannot be reached, while nobody else could be lately either, may be well: it is we who are cut off. So a
failure to connect counts against an endpoint only where another provider has answered us within ``WITNESS_US``. With
one provider there is no witness, and nothing is held against it that looks like our network.

*Stalls*: a loop that was late by more than a share of what it timed has timed itself. ``Stalls`` is told how late each
of its ticks came; a probe during which the lateness adds up to more than ``STALL_SHARE`` of it is thrown away.
"""

from __future__ import annotations

from collections import deque
from typing import Final

WITNESS_US: Final = 60_000_000
"""A provider that answered within a minute says that our network works."""
STALL_SHARE: Final = 0.2
"""Of a duration that may be our own lateness: claims are held to a factor of two."""
TICK_US: Final = 10_000
LATE_US: Final = 3_000
"""A tick later than this is a stall; a healthy loop is late by a tenth of it."""
KEPT: Final = 4_096


class Witnesses:
    """Who answered when."""

    __slots__ = ("_answered_us",)

    def __init__(self) -> None:
        self._answered_us: dict[str, int] = {}

    def note(self, provider: str, now_us: int) -> None:
        """A provider has answered anything at all."""
        self._answered_us[provider] = now_us

    def is_ours(self, provider: str, now_us: int) -> bool:
        """Whether a failure to reach a provider may be our own network's."""
        return not any(other != provider and now_us - at_us <= WITNESS_US for other, at_us in self._answered_us.items())


class Stalls:
    """When the event loop was late, and by how much."""

    __slots__ = ("_late",)

    def __init__(self) -> None:
        self._late: deque[tuple[int, int]] = deque(maxlen=KEPT)

    def note(self, due_us: int, now_us: int) -> None:
        """A tick that was due came now."""
        if now_us - due_us > LATE_US:
            self._late.append((due_us, now_us))

    def compute_late_us(self, start_us: int, end_us: int) -> int:
        """How long within an interval the loop stood still."""
        late = 0
        for due_us, came_us in reversed(self._late):
            if came_us < start_us:
                break
            late += max(0, min(came_us, end_us) - max(due_us, start_us))
        return late

    def is_spoilt(self, start_us: int, ttft_us: int) -> bool:
        """Whether a time to first token that began at ``start_us`` was in good part our own lateness."""
        return self.compute_late_us(start_us, start_us + ttft_us) > STALL_SHARE * ttft_us
