"""The example is a scenario."""

from __future__ import annotations

from pathlib import Path

from providerrank.sim.scenario import load_scenario

EXAMPLE = Path(__file__).parents[3] / "examples" / "providers.toml"


def test_the_example_scenario_is_accepted() -> None:
    assert len(load_scenario(EXAMPLE).endpoints) == 4
