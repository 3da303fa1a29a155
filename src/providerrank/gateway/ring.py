"""The latest finished requests, so that each can be explained.

An entry takes about a kilobyte, its share of the figures (``rules.sight``) about as much again at most. The oldest goes
first. Finding one looks through them all: it is asked for by hand, and an index would cost every request.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from providerrank.rules.explain import explain, make_brief
from providerrank.rules.explanation import Brief, Explanation
from providerrank.rules.finished import Finished
from providerrank.rules.params import PARAMS, Params

MAX_PROBES = 1_000
"""Probes kept beside the requests: they are found by their ids, and push nobody's request out."""

ROWS_PER_ENTRY = 8
"""Candidates' figures kept for each entry, as a mean: most share theirs with thousands of others."""


class Ring:
    """At most ``entries`` finished requests, 1 and up."""

    def __init__(self, entries: int, params: Params = PARAMS) -> None:
        self._kept: deque[Finished] = deque(maxlen=entries)
        self._probes: deque[Finished] = deque(maxlen=min(entries, MAX_PROBES))
        self._params = params
        self.keep = self._kept.append
        """Take one more."""
        self.keep_probe = self._probes.append
        """Take a probe of ours, which is in no list of requests."""

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """How many it holds at most."""
        return self._kept.maxlen or 0

    def find(self, request_id: str) -> Explanation | None:
        """Explain the latest request of this id; None when it is not, or no longer, here."""
        wanted = request_id.encode("utf-8", "replace")
        for kept in (self._kept, self._probes):
            for finished in reversed(kept):
                if finished.request_id == wanted:
                    return explain(finished, self._params)
        return None

    def get_latest(self, limit: int) -> list[Brief]:
        """The latest requests, the newest first."""
        return [make_brief(finished) for finished in islice(reversed(self._kept), limit)]
