"""A bundle's whole way from claims to a score, with the figures of its parts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from providerrank.rules.cells import Cell
from providerrank.rules.judging import NOTHING, Claims, Yardstick, build_yardstick, count_claims, score_bundle
from providerrank.rules.market_params import MARKET
from providerrank.rules.observation import Outcome
from providerrank.rules.outcomes import Outcomes, Sample
from providerrank.rules.records import PPM, Forecast, Record, Route, Signal, compute_microlog
from providerrank.rules.scoring import get_fingerprint

TEMPO = 1_000_000
NOW = 10 * TEMPO
CELLS = tuple(Cell(f"p{i}/m", "chat") for i in range(12))
UTILITIES = {("m", "chat"): {cell.endpoint_id: 0.9 - 0.05 * i for i, cell in enumerate(CELLS)}}


def make_forecast(cell: Cell, factor: float) -> Forecast:
    at, end = compute_microlog(round(500_000 * factor)), compute_microlog(round(900_000 * factor))
    return Forecast(cell, (at,) * 6, (end,) * 6, PPM, PPM)


def make_records(cell: Cell, count: int = 20, status: Outcome = Outcome.SUCCESS, first: int = 0) -> list[Record]:
    check = "pass" if status is Outcome.SUCCESS else "none"
    return [
        Record(cell, first + i, "0", f"{i}", "0", NOW, 5 + i, 900 + i, None, None, status, check) for i in range(count)
    ]


def make_yardstick(samples: int = 30, cells: tuple[Cell, ...] = CELLS) -> Yardstick:
    outcomes = {
        cell: Outcomes.count([Sample(Outcome.SUCCESS, 500_000 + 2_000 * i, 900_000)] * samples)
        for i, cell in enumerate(cells)
    }
    public = {cell: (make_forecast(cell, 2.0), make_forecast(cell, 3.0)) for cell in cells}
    return build_yardstick(outcomes, public, UTILITIES, dict.fromkeys(CELLS, 1.0))


def make_claims(cells: tuple[Cell, ...] = CELLS, factor: float = 1.0, records: int = 20) -> Claims:
    signal = Signal("m", "chat", (Route(CELLS[0].endpoint_id, PPM),))
    return count_claims(
        [record for cell in cells for record in make_records(cell, records)],
        [make_forecast(cell, factor) for cell in cells],
        [signal],
        replayed_us=dict.fromkeys(CELLS, NOW),
        tempo_us=TEMPO,
    )


def test_whoever_knew_better_scores_and_whoever_says_the_same_scores_nothing() -> None:
    good = score_bundle(make_yardstick(), make_claims(), gate=1, covered=True)
    assert good.coverage == good.freshness == good.usefulness == 1.0
    assert good.gain == pytest.approx(0.97, abs=0.03)
    assert good.score == pytest.approx(good.gain)
    assert good.is_news
    assert good.standby == 1.0
    assert good.counted == frozenset(CELLS)
    same = score_bundle(make_yardstick(), make_claims(factor=2.0), gate=1, covered=True)
    assert same.score == same.gain == 0.0
    assert not same.is_news
    assert same.standby == 1.0, "it did watch"
    worse = score_bundle(make_yardstick(), make_claims(factor=4.0), gate=1, covered=True)
    assert worse.score == max(-1.0, worse.gain) < MARKET.standby_gain_min
    assert worse.standby == 0.0, "and says what is not so"


@pytest.mark.parametrize(("gate", "covered"), [(0, True), (0, False), (1, False)])
def test_what_the_gate_stopped_or_could_not_verify_is_nothing(gate: int, *, covered: bool) -> None:
    assert score_bundle(make_yardstick(), make_claims(), gate=gate, covered=covered) == NOTHING


def test_half_the_cells_earn_a_quarter_and_a_corner_nothing() -> None:
    whole = score_bundle(make_yardstick(), make_claims(), gate=1, covered=True)
    half = score_bundle(make_yardstick(), make_claims(CELLS[:6]), gate=1, covered=True)
    assert half.score == pytest.approx(whole.score / 4, rel=0.05)
    corner = score_bundle(make_yardstick(), make_claims(CELLS[:2]), gate=1, covered=True)
    assert corner.gain > 0
    assert corner.score == corner.standby == 0.0


def test_cells_without_samples_or_public_forecast_or_answers_do_not_count() -> None:
    assert make_yardstick(29).outcomes == {}
    assert score_bundle(make_yardstick(29), make_claims(), gate=1, covered=True) == NOTHING
    assert score_bundle(make_yardstick(), make_claims(records=19), gate=1, covered=True) == NOTHING
    unknown = build_yardstick({CELLS[0]: Outcomes.count([Sample(Outcome.FAILURE, None, None)] * 30)}, {}, {}, {})
    assert unknown.outcomes == {}


def test_of_the_records_that_make_a_cell_count_most_have_an_answer() -> None:
    yardstick = make_yardstick()
    for answered, counts in ((14, True), (13, False)):
        failed = 20 - answered
        records = [
            record
            for cell in CELLS
            for record in (*make_records(cell, answered), *make_records(cell, failed, Outcome.FAILURE, first=answered))
        ]
        forecasts = [make_forecast(cell, 1.0) for cell in CELLS]
        claims = count_claims(records, forecasts, [], replayed_us=dict.fromkeys(CELLS, NOW), tempo_us=TEMPO)
        assert set(claims.answered.values()) == {answered}
        assert bool(score_bundle(yardstick, claims, gate=1, covered=True).counted) is counts


def test_picked_out_challenges_do_not_count() -> None:
    spread = [replace(record, index=record.index * 2) for record in make_records(CELLS[0])]
    nearly = [*make_records(CELLS[0], 19), *make_records(CELLS[0], 1, first=29)]
    assert count_claims(spread, [], [], replayed_us={}, tempo_us=TEMPO).records == {CELLS[0]: 0}
    assert count_claims(nearly, [], [], replayed_us={}, tempo_us=TEMPO).records == {CELLS[0]: 20}


def test_freshness_knows_what_was_seen_and_when_it_was_replayed() -> None:
    records = [*make_records(CELLS[0]), *make_records(CELLS[1]), *make_records(CELLS[2]), *make_records(CELLS[0], 4)]
    seen = {CELLS[1]: {get_fingerprint(record) for record in make_records(CELLS[1], 10)}}
    claims = count_claims(
        records,
        [],
        [],
        replayed_us={CELLS[0]: NOW + TEMPO, CELLS[1]: NOW},
        tempo_us=TEMPO,
        get_seen=lambda cell: seen.get(cell, ()),
    )
    assert claims.freshness == {CELLS[0]: 0.5, CELLS[1]: 0.5, CELLS[2]: 0.0}
    assert claims.answered[CELLS[0]] == claims.records[CELLS[0]] == 24, "a cell's records need not lie together"


def test_usefulness_is_over_those_where_endpoints_differ() -> None:
    yardstick = make_yardstick()
    claims = make_claims()
    silent = score_bundle(yardstick, replace(claims, signals={}), gate=1, covered=True)
    assert silent.usefulness == 0.0
    assert silent.standby == pytest.approx(MARKET.accuracy_weight), "it watched, whether or not it routes"
    alike = replace(yardstick, utilities={("m", "chat"): dict.fromkeys(UTILITIES["m", "chat"], 0.5)})
    assert score_bundle(alike, claims, gate=1, covered=True).usefulness == 0.0
    two = {**UTILITIES, ("n", "chat"): {"p0/n": 0.1, "p1/n": 0.9}}
    assert score_bundle(replace(yardstick, utilities=two), claims, gate=1, covered=True).usefulness == 1.0, "no demand"
