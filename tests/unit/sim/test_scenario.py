"""A scenario says what it means, or every mistake in it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from providerrank.sim.faults import Fault
from providerrank.sim.scenario import ScenarioError, load_scenario, parse_scenario
from providerrank.sim.spec import Event, ListPrice, Ttft

GOOD = """
seed = 7

[[endpoints]]
name = "alpha"
ttft = { median = 0.3, sigma = 0.25 }
tokens_per_s = 80
success = 0.99
fault_on_failure = "cut_abort"
faults = { cut_abort = 0.01, rate_limit = 0.02 }
price = { input = 0.2, output = 0.6 }
prefill = true
timeline = [
  { at = 10, do = "down" },
  { at = 30, do = "up" },
  { at = 40, do = "rate_limit", for = 5 },
  { at = 50, do = "set", ttft = { median = 3.0 }, for = 20 },
]

[[endpoints]]
name = "beta"
"""


def test_a_scenario_is_read() -> None:
    scenario = parse_scenario(GOOD)
    alpha, beta = scenario.endpoints
    assert (scenario.seed, alpha.name, beta.name) == (7, "alpha", "beta")
    assert alpha.ttft == Ttft(median=0.3, sigma=0.25)
    assert alpha.faults == {Fault.CUT_ABORT: 0.01, Fault.RATE_LIMIT: 0.02}
    assert alpha.fault_on_failure is Fault.CUT_ABORT
    assert alpha.price == ListPrice(input=0.2, output=0.6)
    assert alpha.timeline[2] == Event(at=40, do="rate_limit", for_s=5)
    assert alpha.timeline[3].ttft == Ttft(median=3.0)


@pytest.mark.parametrize(
    ("lines", "mistakes"),
    [
        ("", ["no endpoints"]),
        ("x = [", ["not TOML"]),
        ("[[endpoints]]\nport = 1", ["endpoints[0]: name is missing"]),
        ('xyz = 1\n[[endpoints]]\nname = "a"', ["xyz: no such key; there are: endpoints, seed"]),
        ('sead = 1\n[[endpoints]]\nname = "a"', ["sead: no such key; did you mean 'seed'?"]),
        (
            '[[endpoints]]\nname = "a"\ntokens_per_sec = 1',
            ["(a).tokens_per_sec: no such key; did you mean 'tokens_per_s'?"],
        ),
        ('[[endpoints]]\nname = "a"\nsuccess = 1.5', ["endpoints[0] (a).success: expected `float` <= 1.0"]),
        ('[[endpoints]]\nname = "a"\nttft = { median = -1 }', ["(a).ttft: expected `float` >= 0.0 (at median)"]),
        ('[[endpoints]]\nname = "a"\nttft = { mean = 1 }', ["(a).ttft: object contains unknown field `mean`"]),
        ('[[endpoints]]\nname = "a"\nport = "x"', ["(a).port: expected `int`, got `str`"]),
        ('[[endpoints]]\nname = "a"\nfaults = { cut_abrt = 0.1 }', ["faults.cut_abrt: no such fault", "'cut_abort'"]),
        ('[[endpoints]]\nname = "a"\nfaults = { cut_abort = 0.6, cut_clean = 0.6 }', ["1.2 together; at most 1"]),
        (
            '[[endpoints]]\nname = "a"\nfault_on_failure = "status_50"',
            ["no such fault: 'status_50'; did you mean 'status_50"],
        ),
        ('[[endpoints]]\nname = "a"\ntimeline = [{ at = 1, do = "dwn" }]', ["timeline[0].do: no such fault", "'down'"]),
        (
            '[[endpoints]]\nname = "a"\ntimeline = [{ do = "down" }]',
            ["timeline[0]: object missing required field `at`"],
        ),
        ('[[endpoints]]\nname = "a"\ntimeline = [{ at = 1, do = "set" }]', ["sets nothing"]),
        ('[[endpoints]]\nname = "a"\ntimeline = [{ at = 1, do = "up", for = 3 }]', ["timeline[0].for: up lasts"]),
        ('[[endpoints]]\nname = "a"\ntimeline = [{ at = 1, do = "down", success = 1 }]', ['only do = "set"']),
        ('[[endpoints]]\nname = "a"\ntimeline = [{ at = 1, do = "down", fro = 1 }]', ["did you mean 'for'?"]),
        ('[[endpoints]]\nname = "a"\ntimeline = ["down"]', ["expected a table such as"]),
        ('[[endpoints]]\nname = "a"\n[[endpoints]]\nname = "a"', ["2 have the name 'a'"]),
        ('[[endpoints]]\nname = "a"\nport = 5\n[[endpoints]]\nname = "b"\nport = 5', ["2 have the port 5"]),
        ('seed = "x"\n[[endpoints]]\nname = "a"', ["seed: expected a whole number"]),
    ],
)
def test_a_mistake_is_said_with_its_place(lines: str, mistakes: list[str]) -> None:
    with pytest.raises(ScenarioError) as refused:
        parse_scenario(lines)
    (said,) = refused.value.mistakes
    for part in mistakes:
        assert part in said


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(ScenarioError) as refused:
        parse_scenario('[[endpoints]]\nsucces = 1\nport = -1\n[[endpoints]]\nname = "b"\nttft = 3')
    assert len(refused.value.mistakes) == 4


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("endpoints = []")
    with pytest.raises(ScenarioError, match=r"bad\.toml: no endpoints"):
        load_scenario(path)
