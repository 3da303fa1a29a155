"""The published pages say what the code does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from providerrank.rules.attempt import TABLE, Fault
from providerrank.rules.params import PARAMS
from tests.playbook import MS, Playbook, S, play
from tests.unit.rules.test_faults_page import read_table

PAGES = Path(__file__).parents[3] / "docs" / "reference"
GOES_ON = [fault for fault, rule in TABLE.items() if rule.next_endpoint]
ENDS = [fault for fault, rule in TABLE.items() if rule.to_client and not rule.next_endpoint]


def slow() -> Playbook:
    request = play("a", "b", "c", hedge_us=200 * MS).begin().tries("a").connects()
    return request.runs_out().hedges_on("b").connects("b")


def fail(fault: Fault) -> Playbook:
    return slow().fails(fault, of="a")


PLAYED: dict[str, list[Callable[[], Playbook]]] = {
    "content": [lambda: slow().content("a").commits().ends().finishes()],
    "a fault after which another endpoint may be asked": [
        lambda fault=fault: fail(fault).carries_on().content("b").commits().ends().finishes()  # type: ignore[misc]  # as it is now
        for fault in GOES_ON
    ],
    "a fault after which none may be asked": [
        lambda fault=fault: fail(fault).answers("a")  # type: ignore[misc]  # as it is now
        for fault in ENDS
    ],
    "its connect or first-token clock runs out": [
        lambda: slow().runs_out().drops("a", Fault.FIRST_TOKEN_TIMEOUT).content().commits().ends().finishes()
    ],
    "the request's total time runs out": [lambda: slow().passes(300 * S).gives_up(504, "upstream_timeout")],
    "the client leaves": [lambda: slow().client_leaves()],
}


def test_every_row_was_played() -> None:
    assert [row[0] for row in read_table("A second attempt beside a slow one")] == list(PLAYED)
    assert {*GOES_ON, *ENDS} == set(Fault) - {Fault.TOTAL_TIMEOUT}


@pytest.mark.parametrize("row", read_table("A second attempt beside a slow one"), ids=lambda row: str(row[0]))
def test_each_counts_as_the_row_says(row: list[str]) -> None:
    one, other = row[3].split(", ")
    for played in PLAYED[row[0]]:
        first, second = played().log
        expected = TABLE[first.fault].outcome.name.lower() if first.fault and one == "that of the fault" else one
        assert first.outcome.name.lower() == expected
        assert second.outcome.name.lower() == ("success" if other == "its own" else other)
        assert second.beaten is (other == "nobodys" and row[0] != "the client leaves")


def test_the_figures_are_those_of_the_code() -> None:
    page = (PAGES / "hedging.md").read_text("utf-8")
    assert f"hedge = {PARAMS.hedge_share:g} " in page
    assert f"and for {PARAMS.hedge_floor_us // 1000} ms" in page
    assert f"at least {PARAMS.hedge_requests:g} TTFTs" in page
    assert f"no longer than {PARAMS.hedge_input_tokens} tokens" in page
    assert f"what {PARAMS.hedge_saved_requests} requests earn can be saved up" in page
    assert f"fewer than one in {1 / PARAMS.hedge_hopeless:g} would win" in page


def test_it_is_found_from_the_pages_that_speak_of_it() -> None:
    for name in ("faults.md", "metrics.md", "config.md"):
        assert "(hedging.md)" in (PAGES / name).read_text("utf-8")
