"""What everybody knows of a cell at an epoch's end, without having measured: the forecasts that a miner has to beat.

Three, made of what validators publish and what earlier bundles revealed:

* *trailing*: the validator's own samples of the epoch before, said again (`compute_trailing`);
* *verified*: the earlier epoch's forecasts of those who were paid (`rules.verified`), by which gateways rank;
* *blended*: the mean of both and of the long-run average of them. Whoever pools all that he finds can do little better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from providerrank.rules.cells import Cell
from providerrank.rules.market_params import MARKET, MarketParams
from providerrank.rules.outcomes import Outcomes, Sample
from providerrank.rules.records import Forecast
from providerrank.rules.scoring import compute_baseline


def compute_trailing(trailing: Mapping[Cell, Sequence[Sample]]) -> dict[Cell, Forecast]:
    """The trailing forecast of each cell of which a sample has both times; shares lean on those of all cells."""
    counts = [Outcomes.count(samples) for samples in trailing.values()]
    requests, completed = sum(seen.requests for seen in counts), sum(seen.completed for seen in counts)
    usual = (completed + 1) / (requests + 2)
    usual_schema = (sum(seen.passed for seen in counts) + 1) / (completed + 2)
    return {
        cell: compute_baseline(cell, samples, usual=usual, usual_schema=usual_schema)
        for (cell, samples), seen in zip(trailing.items(), counts, strict=True)
        if seen.ttft.values and seen.total.values
    }


def compute_blend(parts: Sequence[tuple[Forecast, float]]) -> Forecast:
    """The weighted mean of at least one cell's forecasts, figure by figure; weights sum to one."""
    figures = zip(*(_get_figures(forecast) for forecast, _ in parts), strict=True)
    return _make_forecast(
        parts[0][0].cell,
        [round(sum(v * weight for v, (_, weight) in zip(values, parts, strict=True))) for values in figures],
    )


def compute_public(
    trailing: Mapping[Cell, Forecast], verified: Mapping[Cell, Forecast], history: Mapping[Cell, Forecast]
) -> dict[Cell, tuple[Forecast, Forecast, Forecast]]:
    """The three public forecasts of each cell with trailing samples, which stand in where another is not known."""
    public = {}
    for cell, last in trailing.items():
        told = verified.get(cell, last)
        public[cell] = (last, told, compute_blend([(one, 1 / 3) for one in (last, told, history.get(cell, last))]))
    return public


def update_history(
    history: Mapping[Cell, Forecast],
    public: Mapping[Cell, tuple[Forecast, Forecast, Forecast]],
    params: MarketParams = MARKET,
) -> dict[Cell, Forecast]:
    """The long-run forecasts after an epoch: a step from what they were towards the mean of trailing and verified."""
    after = dict(history)
    for cell, (last, told, _) in public.items():
        new = compute_blend([(last, 0.5), (told, 0.5)])
        old = history.get(cell)
        step = params.history_step
        after[cell] = new if old is None else compute_blend([(old, 1 - step), (new, step)])
    return after


def _get_figures(forecast: Forecast) -> tuple[int, ...]:
    return (*forecast.ttft_micrologs, *forecast.total_micrologs, forecast.success_ppm, forecast.schema_ppm)


def _make_forecast(cell: Cell, figures: Sequence[int]) -> Forecast:
    half = (len(figures) - 2) // 2
    return Forecast(cell, tuple(figures[:half]), tuple(figures[half:-2]), figures[-2], figures[-1])
