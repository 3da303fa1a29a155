"""What the demo shows fits 80 columns and says what it must."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from providerrank.apps.demo.summary import Counters, Failure, Summary, Tally, compute_summary
from providerrank.apps.demo.table import (
    WIDTH,
    Row,
    format_failure,
    format_row,
    format_status,
    format_summary,
    render_frame,
    render_table,
)
from providerrank.rules.cells import Price

PRICE = Price.from_usd(0.45, 0.9)
ROWS = [
    Row(1, "thrifty", 0.9012, 350_400, 0.998, Price.from_usd(0.2, 0.4), 2, None, ""),
    Row(2, "swift", 0.676, 95_000, 1.0, Price.from_usd(0.9, 1.8), 0, (3.2, "rate_limited"), "recovering"),
    Row(3, "frugal", 0.51, 12_345_000, 0.7311, Price.from_usd(0.1, 0.2), 11, (4000.0, "stream_cut"), "rate-limiting"),
    Row(None, "steady", None, None, None, PRICE, 0, (0.4, "connection_refused"), "cutting"),
]


def draw(rows: list[Row]) -> list[str]:
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=False)
    status = format_status(Tally(), Counters(), 1.0, 60.0)
    console.print(render_frame(render_table(rows, "Endpoints of m, best first"), status, ["a" * 200]))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_fits_80_columns_with_the_widest_rows() -> None:
    lines = draw(ROWS)
    assert max(len(line) for line in lines) <= WIDTH
    assert all(any(row.name in line for line in lines) for row in ROWS)


def test_a_row_shows_rank_score_ttft_reliability_price_load_failure_and_fate() -> None:
    line = next(line for line in draw(ROWS) if "swift" in line)
    for shown in ("2", "0.676", "95 ms", "100.0%", "0.90/1.80", "0", "3s rate limited", "recovering"):
        assert shown in line


def test_an_endpoint_out_of_the_pool_has_no_rank() -> None:
    line = next(line for line in draw(ROWS) if "steady" in line)
    assert line.lstrip().startswith("-")


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (None, "-"),
        ((3.4, "reset"), "3s reset"),
        ((99.0, "reset"), "99s reset"),
        ((600.0, "cut_mid_stream"), "10m cut mid stream"),
    ],
)
def test_a_failure_shows_its_age(failure: tuple[float, str] | None, shown: str) -> None:
    assert format_failure(failure) == shown


def test_a_log_line_holds_what_a_row_holds() -> None:
    assert format_row(ROWS[1]).split() == [
        "2", "swift", "0.676", "95", "ms", "100.0%", "0.90/1.80", "0", "3s", "rate", "limited", "[recovering]",
    ]  # fmt: skip
    assert max(len(format_row(row)) for row in ROWS) <= WIDTH


def summarise(failures: int) -> Summary:
    tally = Tally()
    tally.add_answer("thrifty/m", 412_000)
    for _ in range(failures):
        tally.add_failure(Failure(1.25, "story, streamed", "APIError: " + "x" * 300))
    counters = Counters(
        attempts=9, fallbacks=3, continuations=2, input_tokens={"thrifty/m": 1000}, output_tokens={"thrifty/m": 500}
    )
    prices = {
        "thrifty/m": Price.from_usd(0.2, 0.4),
        "swift/m": Price.from_usd(0.9, 1.8),
        "frugal/m": Price.from_usd(0.1, 0.2),
    }
    return compute_summary(real_model=False, seconds=60, tally=tally, counters=counters, prices=prices, events=[])


def test_the_summary_fits_80_columns_and_compares_costs() -> None:
    lines = format_summary(summarise(failures=0))
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    assert "simulated endpoints, no model" in text
    assert "client-visible failures  0" in text
    assert "p50 412 ms" in text
    assert "1.800: this show cost 78% less" in text
    assert "0.200: this show cost 100% more" in text


def test_the_summary_names_the_first_failures_and_counts_the_rest() -> None:
    lines = format_summary(summarise(failures=8))
    assert sum("FAILED at 1.2 s, story, streamed: APIError:" in line for line in lines) == 5
    assert lines[-1].strip() == "... and 3 more"
    assert max(map(len, lines)) <= WIDTH


def test_with_nothing_spent_there_is_nothing_to_compare() -> None:
    free = compute_summary(
        real_model=True, seconds=1, tally=Tally(), counters=Counters(), prices={"a/m": PRICE}, events=[]
    )
    assert sum("nothing to compare" in line for line in format_summary(free)) == 2
