"""Runs the language-neutral vectors of ``tests/vectors``: inputs and what must come of them.

A case without ``expected`` must be rejected. Numbers are compared to nine digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from providerrank.rules import belief, metering, ranking, reputation, session
from providerrank.rules.ask import EmptyPool, Preferences
from providerrank.rules.catalog import ModelRules, Tier
from providerrank.rules.cells import ASSUMED_FEATURES, Endpoint, Price
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.window import Window
from tests.unit.rules.market import Market, S, T

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
MODULES = (reputation, ranking, session, belief, metering)
Case = dict[str, Any]  # what JSON holds


def get_rule(name: str) -> Callable[..., float]:
    rule: Callable[..., float] = next(getattr(module, name) for module in MODULES if hasattr(module, name))
    return rule


def get_price(usd: list[float] | None) -> Price | None:
    return None if usd is None else Price.from_usd(*usd)


def get_endpoint(case: Case) -> Endpoint:
    features = frozenset(case["features"]) if "features" in case else ASSUMED_FEATURES
    model = case.get("model", "m")
    price = Price.from_usd(*case["price_usd"])
    return Endpoint(f"{case['provider']}/{model}", model, price, case.get("context_window"), features)


def get_rules(case: Case) -> ModelRules:
    pin, fallbacks = tuple(case.get("pin", ())), tuple(case.get("fallback_models", ()))
    return ModelRules(case["id"], pin=pin, pin_only=case.get("pin_only", False), fallback_models=fallbacks)


def run_route(case: Case) -> object:
    weights = (
        (t, ranking.Weights(**t.pop("weights")) if "weights" in t else None) for t in map(dict, case.get("tiers", ()))
    )
    market = Market(
        *map(get_endpoint, case["endpoints"]),
        cap=get_price(case.get("cap_usd")),
        models=tuple(get_rules(m) for m in case.get("models", ())),
        tiers=tuple(Tier(**tier, weights=weight) for tier, weight in weights),
    )
    for event in case.get("history", ()):
        market.now = max(market.now, T + round(event.get("at_s", 0) * S))
        market.see(
            event["endpoint"],
            Outcome[event["outcome"]],
            times=event.get("times", 1),
            ms=event.get("ttft_ms"),
            gap_s=event.get("gap_s", 1.0),
            session=event.get("session"),
        )
    market.now = max(market.now, T + round(case.get("at_s", 0) * S))
    ask = dict(case.get("ask", {}))
    provider = ask.pop("provider", None)
    if provider is not None:
        provider = {k: tuple(v) if isinstance(v, list) and k != "max_price" else v for k, v in provider.items()}
        if "max_price" in provider:
            provider["max_price"] = get_price(provider["max_price"])
        provider = Preferences(**provider)
    if "features" in ask:
        ask["features"] = frozenset(ask["features"])
    if "fallback_models" in ask:
        ask["fallback_models"] = tuple(ask["fallback_models"])
    try:
        return {"order": market.walk(preferences=provider, **ask)}
    except EmptyPool as error:
        return {"empty": error.filters, "nearest": None if error.nearest is None else error.nearest.id}


def run_window(case: Case) -> object:
    window = Window()
    for at_s, outcome, ttft_ms in case["observations"]:
        ttft_us = None if ttft_ms is None else ttft_ms * 1000
        window.observe(Observation("a/m", "chat", T + at_s * S, Outcome[outcome], ttft_us, ttft_us))
    figures = {"requests": window.requests, "successes": window.successes, "failures": window.failures}
    return {**figures, "within": {q: window.quantile_us(float(q)) for q in case["quantiles"]}}


def load() -> list[tuple[str, str, Case]]:
    cases = []
    for path in sorted(VECTORS.glob("rules_*.json")):
        for rule, entries in json.loads(path.read_text()).items():
            cases += [(path.stem, rule, entry) for entry in entries]
    return cases


@pytest.mark.parametrize(("file", "rule", "case"), [pytest.param(*c, id=f"{c[1]}: {c[2]['name']}") for c in load()])
def test_vector(file: str, rule: str, case: Case) -> None:
    expected = case.get("expected")
    if rule == "route":
        assert run_route(case["input"]) == expected
    elif rule == "window":
        got, ranges = run_window(case["input"]), expected.pop("within")  # type: ignore[union-attr]  # of JSON
        assert isinstance(got, dict)
        for q, us in got.pop("within").items():
            assert us == pytest.approx(ranges[q], rel=0.0201)
        assert got == pytest.approx(expected)
    elif rule == "window_record":
        if expected is None:
            with pytest.raises(ValueError, match="window record"):
                Window.from_record(case["input"])
        else:
            assert Window.from_record(case["input"]).to_record() == expected
    elif rule == "weights":
        with pytest.raises(ValueError, match="weights"):
            ranking.Weights(**case["input"])
    elif rule == "compute_updated_belief":
        outcome = Outcome[case["input"]["outcome"]]
        got_belief = get_rule(rule)(**{**case["input"], "outcome": outcome})
        assert got_belief == pytest.approx(expected, rel=1e-9)
    else:
        assert get_rule(rule)(**case["input"]) == pytest.approx(expected, rel=1e-9)


def test_the_vectors_name_the_version_in_force() -> None:
    assert json.loads((VECTORS / "version.json").read_text()) == {"rules": replace(PARAMS).version}
