"""How the demo looks on a terminal of 80 columns, and in a log that is none.

Rendering only: rows and summaries in, rich renderables or lines of text out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from providerrank.apps.demo.summary import Counters, Summary, Tally
from providerrank.rules.cells import NUSD_PER_USD, Price

WIDTH = 80
FRESH_S = 5.0
"""A failure younger than this is shown in red."""
SHOWN_EVENTS = 6
SHOWN_FAILURES = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint, as the table shows it at one moment."""

    rank: int | None
    """None: out of the pool now."""
    name: str
    score: float | None
    """0..1."""
    ttft_us: int | None
    reliability: float | None
    """0..1."""
    price: Price
    in_flight: int
    last_failure: tuple[float, str] | None
    """How many seconds ago, and one short label."""
    doing: str
    """What the script is doing to it; empty: nothing."""


def format_ms(us: int | None) -> str:
    """Milliseconds of a time, or a dash."""
    return "-" if us is None else f"{us / 1000:.0f} ms"


def format_price(price: Price) -> str:
    """Input and output price in USD per million tokens."""
    return f"{price.input_nusd / NUSD_PER_USD:.2f}/{price.output_nusd / NUSD_PER_USD:.2f}"


def format_failure(last_failure: tuple[float, str] | None) -> str:
    """What went wrong last and how long ago."""
    if last_failure is None:
        return "-"
    ago_s, label = last_failure
    age = f"{ago_s:.0f}s" if ago_s < 100 else f"{ago_s / 60:.0f}m"
    return f"{age} {label.replace('_', ' ')}"


def render_table(rows: Sequence[Row], title: str) -> Table:
    """The ranking, best first, at most WIDTH columns wide."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0, width=WIDTH)
    table.add_column("#", justify="right", width=1)
    table.add_column("endpoint", width=8, no_wrap=True)
    table.add_column("score", justify="right", width=5)
    table.add_column("TTFT", justify="right", width=8)
    table.add_column("reliab", justify="right", width=6)
    table.add_column("$/M token", justify="right", width=9)
    table.add_column("load", justify="right", width=4)
    table.add_column("last failure", no_wrap=True, ratio=1)
    table.add_column("now", no_wrap=True, width=13)
    for row in rows:
        is_fresh = row.last_failure is not None and row.last_failure[0] < FRESH_S
        table.add_row(
            "-" if row.rank is None else str(row.rank),
            row.name,
            "-" if row.score is None else f"{row.score:.3f}",
            format_ms(row.ttft_us),
            "-" if row.reliability is None else f"{row.reliability:.1%}",
            format_price(row.price),
            str(row.in_flight),
            Text(format_failure(row.last_failure), style="red" if is_fresh else "dim"),
            Text(row.doing, style="green" if row.doing.startswith("recover") else "bold red"),
            style="bold" if row.rank == 1 else None,
        )
    return table


def format_status(tally: Tally, counters: Counters, elapsed_s: float, seconds: float) -> str:
    """One line of where the show stands."""
    return (
        f"{elapsed_s:3.0f}/{seconds:.0f} s  requests {tally.requests}  client-visible failures {len(tally.failures)}  "
        f"fallbacks {counters.fallbacks}  continued {counters.continuations}"
    )


def render_frame(table: Table, status: str, events: Sequence[str]) -> RenderableType:
    """What the live display shows: ranking, where the show stands, the latest events."""
    lines = [Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in events[-SHOWN_EVENTS:]]
    return Group(table, Text(status, style="bold", no_wrap=True, overflow="ellipsis"), *lines)


def format_row(row: Row) -> str:
    """One endpoint as one plain line, for logs."""
    rank = "-" if row.rank is None else str(row.rank)
    score = "-" if row.score is None else f"{row.score:.3f}"
    reliability = "-" if row.reliability is None else f"{row.reliability:.1%}"
    doing = f"  [{row.doing}]" if row.doing else ""
    return (
        f" {rank} {row.name:8} {score:>5} {format_ms(row.ttft_us):>7} {reliability:>6} {format_price(row.price):>9} "
        f"{row.in_flight:>2} {format_failure(row.last_failure)}{doing}"
    )


def format_summary(summary: Summary) -> list[str]:
    """The end of the show, as lines of at most WIDTH columns."""

    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f} ms"

    def compare(other_usd: float) -> str:
        if other_usd <= 0:
            return "nothing to compare"
        change = summary.cost_usd / other_usd - 1
        return f"{other_usd * 1000:.3f}: this show cost {abs(change):.0%} {'less' if change <= 0 else 'more'}"

    model = "SmolLM2-135M, real inference" if summary.real_model else "simulated endpoints, no model"
    shares = ", ".join(f"{name.partition('/')[0]} {count}" for name, count in summary.answered_by.items())
    lines = [
        f"Summary of {summary.seconds:.0f} s ({model})",
        f"  requests                 {summary.requests} ({summary.streamed} streamed), begun by: {shares or '-'}",
        f"  client-visible failures  {summary.client_visible_failures}",
        f"  attempts                 {summary.attempts}",
        f"  fallbacks                {summary.fallbacks} requests needed a second endpoint",
        f"  mid-stream continuations {summary.continuations} answers begun by one endpoint, ended by another",
        f"  time to first token      p50 {ms(summary.ttft_p50_ms)}, p95 {ms(summary.ttft_p95_ms)} at the client",
        f"  tokens                   {summary.input_tokens} in, {summary.output_tokens} out",
        f"  cost                     {summary.cost_usd * 1000:.3f} thousandths of a dollar",
        f"    always the dearest     {compare(summary.cost_dearest_usd)}",
        f"    always the cheapest    {compare(summary.cost_cheapest_usd)}",
    ]
    shown = summary.failures[:SHOWN_FAILURES]
    for failure in shown:
        told = f"FAILED at {failure.at_s:.1f} s, {failure.kind}: {failure.reason}"
        lines += textwrap.wrap(told, WIDTH, initial_indent="  ", subsequent_indent="    ")
    if len(summary.failures) > SHOWN_FAILURES:
        lines.append(f"  ... and {len(summary.failures) - SHOWN_FAILURES} more")
    return lines
