"""Who is found to be whose copy; and, by simulation, that honest miners are not."""

from __future__ import annotations

import math
import random

import pytest

from providerrank.rules.cells import Cell
from providerrank.rules.duplicates import Submission, Times, compute_chance, find_originals
from providerrank.rules.market_params import MarketParams

CELL = Cell("p/m", "chat")


def make_world(rng: random.Random, challenges: int) -> list[float]:
    """Log TTFT of each challenge as the endpoint would give it to anyone: prompts differ, and hours do."""
    level, levels = math.log(500_000), []
    for _ in range(challenges):
        if rng.random() < 0.02:
            level += rng.gauss(0, 0.5)
        levels.append(level + rng.gauss(0, 0.3))
    return levels


def measure(
    rng: random.Random, hotkey: str, order: int, world: list[float], *, vantage: float = 0.0, taken: float = 0.7
) -> Submission:
    times: dict[int, Times] = {}
    for index, level in enumerate(world):
        if rng.random() < taken:
            ttft_us = round(math.exp(level + vantage + rng.gauss(0, 0.25)))
            times[index] = (ttft_us, ttft_us + rng.randrange(100_000, 900_000))
    return Submission(hotkey, (order, 0), {CELL: times})


def blur(rng: random.Random, original: Submission, hotkey: str, order: int, noise: float) -> Submission:
    times = {
        index: (round(ttft_us * math.exp(rng.gauss(0, noise))), total_us + rng.randrange(1_000))
        for index, (ttft_us, total_us) in original.times[CELL].items()
    }
    return Submission(hotkey, (order, 0), {CELL: times})


def test_honest_miners_are_not_duplicates_even_at_one_vantage_point() -> None:
    rng = random.Random(1)
    for _ in range(12):
        world = make_world(rng, 300)
        submissions = [measure(rng, f"m{i}", i, world, vantage=0.26 * (i % 3 - 1)) for i in range(12)]
        assert find_originals(submissions) == {s.hotkey: s.hotkey for s in submissions}


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.08])
def test_a_noisy_copy_shares_the_earliest_allocation(noise: float) -> None:
    rng = random.Random(2)
    world = make_world(rng, 300)
    original = measure(rng, "first", 5, world)
    others = [measure(rng, f"m{i}", 10 + i, world) for i in range(8)]
    copy = blur(rng, original, "copy", 3, noise)
    again = blur(rng, original, "again", 9, noise)
    found = find_originals([original, copy, again, *others])
    assert (found["first"], found["copy"], found["again"]) == ("copy", "copy", "copy"), "the copy was committed first"
    assert all(found[s.hotkey] == s.hotkey for s in others)


def test_a_few_measurements_equal_to_the_microsecond_are_enough() -> None:
    base = {i: (1_000 + i, 2_000 + i) for i in range(10)}
    for same, expected in ((2, "b"), (3, "a")):
        other = {key: times if i < same else (times[0], times[1] + 1) for i, (key, times) in enumerate(base.items())}
        found = find_originals([Submission("b", (2, 1), {CELL: other}), Submission("a", (2, 0), {CELL: base})])
        assert found["b"] == expected


def test_of_equal_commitments_the_hotkey_decides_so_that_all_validators_agree() -> None:
    times = {CELL: {i: (i + 1, i + 2) for i in range(5)}}
    forward = [Submission(hotkey, (1, 1), times) for hotkey in "abc"]
    assert find_originals(forward) == find_originals(forward[::-1]) == dict.fromkeys("abc", "a")


def test_little_in_common_is_no_evidence() -> None:
    rng = random.Random(3)
    world = make_world(rng, 50)
    original = measure(rng, "first", 1, world)
    copy = blur(rng, original, "copy", 2, 0.02)
    submissions = [original, copy, *(measure(rng, f"m{i}", 3, world) for i in range(6))]
    assert find_originals(submissions)["copy"] == "copy"
    assert find_originals(submissions, MarketParams(duplicate_shared=20, duplicate_p=1e-3))["copy"] == "first"
    assert find_originals([]) == {}


def test_chance_of_agreement() -> None:
    assert compute_chance(0, 10) == 1.0
    assert compute_chance(10, 10) == pytest.approx(2**-10)
    assert compute_chance(5, 9) == pytest.approx(0.5)


def test_the_same_times_of_other_cells_or_challenges_are_no_copies() -> None:
    times = {i: (1_000 + i, 2_000 + i) for i in range(5)}
    shifted = {i + 1: times[i] for i in times}
    elsewhere = Submission("c", (3, 0), {Cell("q/m", "chat"): times})
    found = find_originals(
        [Submission("a", (1, 0), {CELL: times}), Submission("b", (2, 0), {CELL: shifted}), elsewhere]
    )
    assert found == {"a": "a", "b": "b", "c": "c"}
