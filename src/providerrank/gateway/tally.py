"""Counters of several processes as one: written to be sent, added up, and kept when a process is gone.

Counters are found by looking at the objects that hold them (``stats``): numbers add up, lists add up place by place,
tables add up by key, and of two moments the later one holds. So a new counter is summed without a word about it here.
*Gauges* are of now: those of a process that is gone are nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from providerrank.gateway.stats import EndpointStats, KeyStats, ModelStats, Stats

GAUGES: Final = frozenset({"connections", "in_flight", "pending"})
MOMENTS: Final = frozenset({"last_failure"})
LEFT_OUT: Final = frozenset({"told_us", "ttft_bounds_s", "duration_bounds_s"})
"""No counters, or the same everywhere."""

TABLES: Final[dict[str, type]] = {"endpoints": EndpointStats, "keys": KeyStats, "models": ModelStats}
"""Tables of ``Stats`` whose entries are objects with counters in slots."""

Figures = dict[str, Any]
"""Counters by name, as MessagePack can carry them. ``Any``: numbers, lists, pairs of key and value, nested."""


def write_figures(stats: Stats) -> Figures:
    """Read all counters; entries nothing has been counted for are left out."""
    figures: Figures = {
        name: _write(value) for name, value in vars(stats).items() if name not in LEFT_OUT and name not in TABLES
    }
    for table in TABLES:
        entries: dict[str, Any] = getattr(stats, table)
        figures[table] = {name: _write_entry(entry) for name, entry in entries.items() if not _is_idle(entry)}
    return figures


def drop_gauges(figures: Figures) -> Figures:
    """What is left of a process that is gone."""
    kept = {name: figure for name, figure in figures.items() if name not in GAUGES}
    for table in TABLES:
        kept[table] = {
            name: {slot: figure for slot, figure in entry.items() if slot not in GAUGES}
            for name, entry in figures[table].items()
        }
    return kept


def refill(stats: Stats, parts: Iterable[Figures]) -> None:
    """Make ``stats`` the sum of ``parts``."""
    vars(stats).update(vars(Stats()))
    for part in parts:
        for name, figure in part.items():
            if name in TABLES:
                entries: dict[str, Any] = getattr(stats, name)
                for key, entry in figure.items():
                    _add(entries.setdefault(key, TABLES[name]()), entry)
            else:
                setattr(stats, name, _sum(name, getattr(stats, name), figure))


def _is_idle(entry: Any) -> bool:
    # An endpoint of which nothing was ever tried: of thousands, most.
    outcomes = getattr(entry, "outcomes", None)
    return outcomes is not None and not entry.in_flight and not any(outcomes) and not any(entry.probes)


def _write_entry(entry: Any) -> Figures:
    return {slot: _write(getattr(entry, slot)) for slot in entry.__slots__ if slot not in LEFT_OUT}


def _write(value: Any) -> Any:
    return list(value.items()) if isinstance(value, dict) else value


def _add(entry: Any, figures: Figures) -> None:
    for slot, figure in figures.items():
        setattr(entry, slot, _sum(slot, getattr(entry, slot), figure))


def _sum(name: str, before: Any, figure: Any) -> Any:
    if name in MOMENTS:
        return max((tuple(one) for one in (before, figure) if one), default=None)
    if isinstance(before, dict):
        for key, one in figure:
            known = tuple(key) if isinstance(key, list) else key
            before[known] = _sum("", before[known], one) if known in before else one
        return before
    if isinstance(before, list):
        return [one + other for one, other in zip(before, figure, strict=True)]
    return before + figure
