"""Two decisions about workers that come and go: who stands in at whose socket, and how long to wait. Pure."""

from __future__ import annotations

from collections.abc import Collection

STEADY_S = 10.0
"""A worker that ran this long began well: the next one is begun at once."""

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
"""Half a minute apart, a worker that always fails costs next to nothing."""


def compute_adoptions(ready: Collection[int], count: int) -> dict[int, int]:
    """Who accepts at the socket of each worker that is not ready, of those that are, by index; spread evenly."""
    standing_in = sorted(ready)
    orphans = [index for index in range(count) if index not in ready]
    return {orphan: standing_in[at % len(standing_in)] for at, orphan in enumerate(orphans)} if standing_in else {}


def compute_wait_s(failures: int) -> float:
    """How long after its end a worker is begun anew, when this many in a row ended soon after they began."""
    # Once is an accident: who else would have been asked meanwhile?
    return 0.0 if failures <= 1 else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 2, 16))
