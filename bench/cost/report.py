"""From the figures of each repetition to a Markdown table: median (min-max) over the repetitions.

Ratios and differences are taken within a repetition, between figures of one stage, minutes apart at most.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cost.gateways import OURS
from bench.cost.stages import ALONE, BURST, BUSY, DIRECT, FAILOVER, FLAKY, PACED, Figures

LEAST_FAILED_SHARE = 0.1
"""Below it too few requests failed over to say what one costs."""

Repetition = dict[str, Figures]
"""By gateway, the direct way included."""


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    figure: str
    digits: int


@dataclass(frozen=True, slots=True)
class Bar:
    """What ours is held to: at most this."""

    label: str
    figure: str
    most: float


ROWS = (
    Row(f"CPU s / 1000 requests, {BUSY.connections} connections", "busy_cpu", 4),
    Row("… times nginx's", "busy_vs_nginx", 2),
    Row("… times Envoy's", "busy_vs_envoy", 2),
    Row("… requests/s", "busy_per_s", 0),
    Row("… its core busy, %", "busy_core", 0),
    Row("CPU s / 1000 requests, 1 connection", "alone_cpu", 4),
    Row("… median ms added", "alone_added", 2),
    Row("CPU s / 1000 requests, first upstream always fails", "failover_cpu", 4),
    Row("… failed attempts a request", "failover_failed_share", 2),
    Row("CPU s / 1000 requests that each fail over once", "once_cpu", 4),
    Row("… times one that does not", "once_ratio", 2),
    Row("CPU s / 1000 streamed events, burst", "burst_cpu", 4),
    Row("… times nginx's", "burst_vs_nginx", 2),
    Row("… times Envoy's", "burst_vs_envoy", 2),
    Row("… events/s", "burst_per_s", 0),
    Row("… its core busy, %", "burst_core", 0),
    Row("First streamed byte, median ms added", "paced_added", 2),
    Row("CPU s / 1000 streamed events, paced", "paced_cpu", 4),
    Row("Resident memory after load, MB (Rss)", "rss_mb", 0),
    Row("… shared pages once (Pss)", "pss_mb", 0),
    Row("Start to first answer, s", "start_s", 2),
    Row("Answers lost", "lost", 0),
)

BARS = (
    Bar("CPU of a request, times Envoy's", "busy_vs_envoy", 1.0),
    Bar("CPU of a streamed event, times nginx's", "burst_vs_nginx", 1.5),
    Bar("first streamed byte, ms added", "paced_added", 1.0),
    Bar("CPU of a request that fails over once, times one that does not", "once_ratio", 2.5),
    Bar("resident memory, MB", "rss_mb", 90.0),
    Bar("start to first answer, s", "start_s", 2.0),
    Bar("answers lost", "lost", 0.0),
)


def derive(repetition: Repetition) -> Repetition:
    """Add what is computed from several figures of one repetition."""
    direct = repetition[DIRECT]
    derived: Repetition = {}
    for name, measured in repetition.items():
        figures = derived[name] = dict(measured)
        if name == DIRECT:
            continue
        figures["alone_added"] = measured["alone_ms"] - direct["alone_ms"]
        figures["paced_added"] = measured["paced_first_ms"] - direct["paced_first_ms"]
        for peer in ("nginx", "envoy"):
            if peer in repetition:
                for stage in (BUSY, BURST):
                    cpu = repetition[peer][f"{stage.name}_cpu"]
                    figures[f"{stage.name}_vs_{peer}"] = measured[f"{stage.name}_cpu"] / cpu if cpu else float("nan")
        figures |= _derive_failover(measured)
    return derived


def _derive_failover(measured: Figures) -> Figures:
    """What a request costs that fails over once, where a share of them did.

    Of ``n`` requests ``s * n`` failed over, and the rest cost what a plain one does: ``cpu = plain + s * extra``. Where
    nothing is learned from failures, ``s`` is 1 and this changes nothing.
    """
    if f"{FLAKY.name}_cpu" in measured:
        stage, plain = FLAKY, measured[f"{FLAKY.name}_plain_cpu"]
    else:
        stage, plain = FAILOVER, measured[f"{BUSY.name}_cpu"]
    share = measured[f"{stage.name}_failed_share"]
    if share < LEAST_FAILED_SHARE or not plain:
        return {}
    once = plain + (measured[f"{stage.name}_cpu"] - plain) / share
    return {"once_cpu": once, "once_ratio": once / plain}


def format_table(repetitions: Sequence[Repetition]) -> str:
    names = list(dict.fromkeys(name for repetition in repetitions for name in repetition if name != DIRECT))
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for row in ROWS:
        cells = [_format_cell(_collect(repetitions, name, row.figure), row.digits) for name in names]
        if any(cells):
            lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
    direct = [
        f"{_format_cell(_collect(repetitions, DIRECT, figure), 2)} ms {what}"
        for figure, what in (
            (f"{ALONE.name}_ms", "an answer"),
            (f"{PACED.name}_first_ms", "to the first streamed byte"),
        )
    ]
    lines += ["", f"Without a gateway: {', '.join(direct)}."]
    return "\n".join(lines)


def format_bars(repetitions: Sequence[Repetition]) -> str:
    """Ours against what it promises; by the medians."""
    lines = []
    for bar in BARS:
        values = _collect(repetitions, OURS, bar.figure)
        if values:
            verdict = "met" if statistics.median(values) <= bar.most else "NOT met"
            lines.append(f"- {bar.label}: {_format_cell(values, 2)}, at most {bar.most:g}: {verdict}")
        else:
            lines.append(f"- {bar.label}: not measured")
    return "\n".join(lines)


def _collect(repetitions: Sequence[Repetition], name: str, figure: str) -> list[float]:
    return [one[name][figure] for one in repetitions if name in one and figure in one[name]]


def _format_cell(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return middle if least == most else f"{middle} ({least}-{most})"
