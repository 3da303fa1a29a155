"""The published fault table says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from providerrank.rules.attempt import STATUS_FAULTS, TABLE, Fault, get_status_fault
from providerrank.rules.attempts import RETRY_PAUSE_US, compute_failure
from providerrank.wire.retry_after import MAX_US

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "faults.md"


def read_table(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, cells without their code marks."""
    section = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


def yes(value: bool) -> str:
    return "yes" if value else "no"


def test_every_row_says_what_the_machine_does() -> None:
    published = {row[0]: row[2:] for row in read_table("Faults")}
    assert published == {
        fault.name: [
            yes(rule.next_endpoint),
            yes(rule.next_model),
            yes(rule.retry_last),
            rule.outcome.name.lower(),
            "its reply" if rule.to_client else "error",
        ]
        for fault, rule in TABLE.items()
    }


def test_the_rows_are_in_the_order_of_the_code_and_each_says_what_is_seen() -> None:
    rows = read_table("Faults")
    assert [row[0] for row in rows] == [fault.name for fault in Fault]
    assert len({row[1] for row in rows}) == len(rows)


def test_every_status_has_its_fault() -> None:
    published = {row[0]: row[1] for row in read_table("Statuses")}
    assert published.pop("below 400, other than 200") == get_status_fault(301).name
    assert {int(status): name for status, name in published.items()} == {
        int(status): get_status_fault(int(status)).name for status in published
    }
    assert set(STATUS_FAULTS) <= {int(status) for status in published}


def test_statuses_named_in_a_row_are_of_its_fault() -> None:
    for name, seen, *_ in read_table("Faults"):
        if name in {"CONTEXT_LENGTH", "CONTENT_POLICY", "UNSUPPORTED", "MALFORMED", "CLIENT_ERROR"}:
            continue  # these are told by the body
        for status in re.findall(r"\b[45]\d\d\b", seen.partition(" and every")[0]):
            assert get_status_fault(int(status)).name == name


def test_every_error_of_the_end_is_published() -> None:
    published = {(int(row[0]), row[1]) for row in read_table("When nobody answers")}
    assert published == {
        compute_failure([Fault.RATE_LIMITED], out_of_time=False, rate_limited=True),
        compute_failure([], out_of_time=True, rate_limited=False),
        compute_failure([], out_of_time=False, rate_limited=False),
        compute_failure([Fault.CUT], out_of_time=False, rate_limited=False),
    }


def test_the_figures_are_those_of_the_code() -> None:
    page = PAGE.read_text("utf-8")
    low, high = (pause // 1_000 for pause in RETRY_PAUSE_US)
    assert f"after a pause of {low} to {high} ms" in page
    assert MAX_US == 3_600_000_000
    assert "never more than an hour" in page
