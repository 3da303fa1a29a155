"""What the processes of one gateway say to each other: the kinds of frames, and the shapes of their bodies.

From a worker: what it has *seen* (in batches), that an endpoint is *cooled* (at once), its *counts* (each second, and
when asked), that it is *leaving*. From the crew: how to *begin*, a *reload*, which sockets to *adopt* and *hand back*,
to *probe* idle endpoints (one worker does), to *drain*; what the market has *verified*; and what the others have seen
and cooled, passed on as it came.

Other parts of the gateway may add kinds of their own: a worker answers what it has a handler for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from providerrank.rules.cells import Cell
from providerrank.rules.condition import Condition
from providerrank.rules.observation import Observation
from providerrank.rules.verified import Verified
from providerrank.rules.window import Window

SEEN: Final = "seen"
COOLED: Final = "cooled"
COUNTS: Final = "counts"
LEAVING: Final = "leaving"
BEGIN: Final = "begin"
RELOAD: Final = "reload"
ADOPT: Final = "adopt"
HAND_BACK: Final = "hand_back"
DRAIN: Final = "drain"
VERIFIED: Final = "verified"
PROBE: Final = "probe"
EXPLAIN: Final = "explain"
LATEST: Final = "latest"

Seen = list[tuple[Observation, str | None]]
"""Attempts that ended, each with the session it belongs to."""

Record = tuple[str, str, dict[str, object]]
"""Endpoint id, task, and the window as ``Window.to_record`` writes it."""


class Cooled(msgspec.Struct, frozen=True, array_like=True):
    """Nobody is to ask this endpoint before ``until_us`` (Unix time)."""

    endpoint_id: str
    until_us: int


class Terms(msgspec.Struct, frozen=True):
    """A configuration that was checked, with the environment its secrets live in."""

    text: str
    path: str
    environ: dict[str, str]


Figure = tuple[str, str, float, float, int]
"""Endpoint id, task, and what is verified of them: log TTFT, success, when. The evidence stays with the crew."""


class Begin(msgspec.Struct, frozen=True):
    """Everything a worker begins with."""

    terms: Terms
    epoch_ns: int
    """Of the clock all share: Unix time when the machine's monotonic clock was 0."""
    windows: list[Record]
    conditions: list[Condition]


class Reload(msgspec.Struct, frozen=True):
    """Another configuration, and what is known of endpoints that are new in it."""

    terms: Terms
    windows: list[Record]


_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
decode_seen = msgspec.msgpack.Decoder(Seen).decode
decode_cooled = msgspec.msgpack.Decoder(Cooled).decode
decode_begin = msgspec.msgpack.Decoder(Begin).decode
decode_reload = msgspec.msgpack.Decoder(Reload).decode
decode_figures = msgspec.msgpack.Decoder(list[Figure]).decode
decode_index = msgspec.msgpack.Decoder(int).decode


def write_verified(verified: Mapping[Cell, Verified]) -> bytes:
    """Make what is verified fit to be sent."""
    figures: list[Figure] = [
        (cell.endpoint_id, cell.task, one.log_ttft, one.success, one.at_us) for cell, one in verified.items()
    ]
    return encode(figures)


def read_verified(body: bytes) -> dict[Cell, Verified]:
    """The same, back again, without its evidence."""
    return {
        Cell(endpoint_id, task): Verified(Cell(endpoint_id, task), log_ttft, success, at_us, ())
        for endpoint_id, task, log_ttft, success, at_us in decode_figures(body)
    }


def write_windows(windows: list[tuple[Cell, Window]]) -> list[Record]:
    """Make windows fit to be sent."""
    return [(cell.endpoint_id, cell.task, dict(window.to_record())) for cell, window in windows]


def read_windows(records: list[Record]) -> list[tuple[Cell, Window]]:
    """The same, back again."""
    return [(Cell(endpoint_id, task), Window.from_record(record)) for endpoint_id, task, record in records]
