"""What a board looked like at a moment: kept after the fact, so that a choice can be explained.

A request does not pay for this. A sight is shared by all requests that choose from its board within a second
(`FRESH_US`), and taken anew at later choices of a request, at most every `AGAIN_US`. It holds numbers and endpoints
only, nothing alive, so that what remembers a request does not keep a router.

Memory is bounded twice: a sight has at most `MAX_ROWS` rows inside and as many above the price cap, and all sights of
one `Looks` have at most ``max_rows`` together: past that the oldest lose theirs. A sight lives as long as a request
that is remembered, or a board, refers to it; what counts the rows does not keep it.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import ref

from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.params import SECOND_US, Params
from providerrank.rules.reputation import compute_latency, compute_reliability

if TYPE_CHECKING:
    from providerrank.rules.board import Board
    from providerrank.rules.pool import Pool
    from providerrank.rules.state import Standing

FRESH_US: Final = SECOND_US
"""Requests share a sight that is no older."""
AGAIN_US: Final = 20_000
"""A request's later choices share one that is no older: taking one costs about a microsecond a row."""
MAX_ROWS: Final = 64
"""Rows of one sight: the best of the pool, and as many of those above the cap."""
ROW_BYTES: Final = 128
"""What a row takes: its numbers, and its place in two lists."""
NEVER_US: Final = 1 << 62

_COLUMNS: Final = 14


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint's figures on a board, as everybody's session sees them; scores and beliefs are 0 to 1."""

    endpoint: Endpoint
    over_cap: bool
    composite: float
    reputation: float
    latency: float
    reliability: float
    uptime: float
    price_score: float
    cost_nusd: float
    """Expected cost of one request of the board's task."""
    ttft_us: float
    success: float
    evidence: float
    """Decayed requests of its own."""
    honesty: float
    """Below 1 where it bills for more tokens than others would: the composite is multiplied by it."""
    belief: float
    in_flight: int
    concurrency_limit: float
    cooling_until_us: int
    hold_until_us: int
    """It refused our key, balance or model name, and is not asked before; 0: it did not."""

    @property
    def effective(self) -> float:
        """What routing compares, but for trials."""
        return (1.0 - self.belief) * self.composite


class Sight:
    """One board at one moment."""

    __slots__ = (
        "__weakref__",
        "_endpoints",
        "_figures",
        "_params",
        "at_us",
        "left_out",
        "members",
        "model",
        "task",
        "until_us",
    )

    def __init__(self, board: Board | None, now_us: int, params: Params) -> None:
        """``board`` None: of nothing, and never outdated."""
        self.at_us = now_us
        self.until_us = NEVER_US if board is None else now_us + FRESH_US
        self._params = params
        self._endpoints: tuple[Endpoint, ...] = ()
        self._figures = array("d")
        self.members = 0
        """How many of the rows, from the first, are not above the price cap."""
        self.left_out = 0
        """Endpoints of the board without a row."""
        self.model, self.task = ("", "") if board is None else (board.model, board.task)
        if board is not None:
            self._take(board, now_us)

    def _take(self, board: Board, now_us: int) -> None:
        members, excluded = board.members[:MAX_ROWS], board.excluded[:MAX_ROWS]
        for standing in excluded:
            board.score(standing, now_us)
        shown = members + excluded
        self.members = len(members)
        self.left_out = len(board.members) + len(board.excluded) - len(shown)
        self._endpoints = tuple([standing.state.endpoint for standing in shown])
        figures = self._figures
        for standing in shown:
            figures.extend(_read(standing, now_us, self._params))

    def __len__(self) -> int:
        return len(self._endpoints)

    def forget(self) -> None:
        """Let go of all rows."""
        self.left_out += len(self._endpoints)
        self.members = 0
        self._endpoints = ()
        self._figures = array("d")

    def get_rows(self) -> list[Row]:
        """The rows: the pool's, best first, then those above the price cap."""
        return [self._get_row(at) for at in range(len(self._endpoints))]

    def _get_row(self, at: int) -> Row:
        (
            composite,
            reputation,
            log_ttft,
            success,
            uptime,
            price_score,
            cost_nusd,
            evidence,
            honesty,
            belief,
            in_flight,
            limit,
            cooling_until_us,
            hold_until_us,
        ) = self._figures[at * _COLUMNS : (at + 1) * _COLUMNS]
        params = self._params
        ttft_us = math.exp(log_ttft)
        return Row(
            endpoint=self._endpoints[at],
            over_cap=at >= self.members,
            composite=composite,
            reputation=reputation,
            latency=compute_latency(ttft_us, params.get_task(self.task).target_ttft_us),
            reliability=compute_reliability(success, params),
            uptime=uptime,
            price_score=price_score,
            cost_nusd=cost_nusd,
            ttft_us=ttft_us,
            success=success,
            evidence=evidence,
            honesty=honesty,
            belief=belief,
            in_flight=int(in_flight),
            concurrency_limit=limit,
            cooling_until_us=int(cooling_until_us),
            hold_until_us=int(hold_until_us),
        )


def _read(standing: Standing, now_us: int, params: Params) -> tuple[float, ...]:
    state, cell = standing.state, standing.cell
    return (
        standing.composite,
        standing.reputation,
        cell.log_ttft,
        cell.success,
        cell.uptime,
        standing.price_score,
        standing.cost_nusd,
        cell.evidence,
        cell.honesty,
        state.get_belief(now_us, params),
        state.in_flight,
        state.limit,
        state.cooling_until_us,
        state.hold_until_us,
    )


def _weigh(sight: Sight) -> int:
    """What a sight counts for: its rows, and one for itself."""
    return 1 + len(sight)


class Looks:
    """Takes sights and bounds what they hold. ``max_rows`` 0: takes none."""

    __slots__ = ("_params", "_rows", "_taken", "max_rows", "none")

    def __init__(self, max_rows: int, params: Params) -> None:
        self.max_rows = max_rows
        self._params = params
        self._taken: deque[tuple[ref[Sight], int]] = deque()
        """With what each weighs, the oldest first. Some are gone: those in front are dropped at the next look."""
        self._rows = 0
        self.none = (Sight(None, 0, params),)
        """What a board has been seen as before it has been looked at: outdated, unless nobody ever looks."""
        if max_rows:
            self.none[0].until_us = 0

    @property
    def rows(self) -> int:
        """Rows held now, at most, and one for each sight."""
        return self._rows

    def look(self, board: Board, now_us: int) -> None:
        """Take the board's latest sight now."""
        if not self.max_rows:
            return
        sight = Sight(board, now_us, self._params)
        board.sights = (sight,)
        taken, weight = self._taken, _weigh(sight)
        taken.append((ref(sight), weight))
        self._rows += weight
        while self._rows > self.max_rows or taken[0][0]() is None:
            oldest, weight = taken.popleft()
            self._rows -= weight
            gone = oldest()
            if gone is not None:
                gone.forget()

    def look_again(self, board: Board, now_us: int) -> Sight:
        """The board as it is now, or was a moment ago."""
        if now_us >= board.sights[0].at_us + AGAIN_US:
            self.look(board, now_us)
        return board.sights[0]


@dataclass(frozen=True, slots=True)
class Lane:
    """What was laid down for one model of a request before anybody was tried. Nothing alive."""

    model: str
    pins: tuple[str, ...] = ()
    """Endpoint ids the operator has tried first."""
    min_reputation: float | None = None
    price_cap: Price | None = None
    pool: Pool | None = None
    """The request's filters, as they ended; None: none but the cap."""
    is_pool_kept: bool = True
    """False: there were filters, too long to keep."""
    order: tuple[str, ...] = ()
    """Endpoint ids that come first because the request says so."""
    sort: str | None = None
    refused: str = ""
    """Nobody of this model could serve the request: the sentence that says so."""
