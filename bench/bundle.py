"""How long a bundle takes to build and to verify, and how large it is: `python -m bench.bundle [RECORDS]`."""

from __future__ import annotations

import hashlib
import random
import sys
import time

from providerrank.rules.cells import TASKS, Cell
from providerrank.rules.observation import Outcome
from providerrank.rules.records import PPM, Forecast, Record, Route, Signal, compute_microlog
from providerrank.wire.bundle import Contents, build_bundle, read_bundle
from providerrank.wire.signature import Hotkey

START_US = 1_760_000_000_000_000
BARS_S = 2.0
ENDPOINTS = 40


def make_contents(records: int, seed: int = 0) -> Contents:
    """What a miner of 40 endpoints x 5 tasks would submit after so many probes."""
    rng = random.Random(seed)
    endpoints = [f"provider-{number:02}/llama-3.3-70b@eu-west:fp8" for number in range(ENDPOINTS)]
    cells = [Cell(endpoint, task) for endpoint in endpoints for task in TASKS]

    def digest() -> str:
        return hashlib.sha256(rng.randbytes(8)).hexdigest()

    made = []
    for number in range(records):
        ttft_us = int(rng.lognormvariate(13, 0.5))
        total_us = ttft_us + int(rng.lognormvariate(14, 0.5))
        made.append(
            Record(
                cells[number % len(cells)],
                number // len(cells),
                digest(),
                digest(),
                digest(),
                START_US + number * 400_000,
                ttft_us,
                total_us,
                rng.randrange(100, 4_000),
                rng.randrange(10, 400),
                Outcome.SUCCESS,
                "pass",
            )
        )
    quantiles = tuple(compute_microlog(us) for us in (300_000, 350_000, 450_000, 600_000, 900_000, 1_200_000))
    totals = tuple(compute_microlog(us) for us in (900_000, 1_100_000, 1_500_000, 2_000_000, 3_000_000, 4_000_000))
    routes = tuple(Route(endpoint, PPM // ENDPOINTS) for endpoint in endpoints)
    return Contents(
        tuple(made),
        tuple(Forecast(cell, quantiles, totals, 990_000, 950_000) for cell in cells),
        tuple(Signal("llama-3.3-70b", task, routes) for task in TASKS),
    )


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    contents = make_contents(records)
    key = Hotkey(bytes(32))
    begun = time.perf_counter()
    bundle = build_bundle(contents, key, netuid=1, epoch=1, created_us=START_US + records * 400_000 + 60_000_000)
    data = bundle.encode()
    built = time.perf_counter()
    read = read_bundle([data[at : at + 65_536] for at in range(0, len(data), 65_536)])
    verified = time.perf_counter()
    assert read == bundle
    total = verified - begun
    print(f"{records} records, {bundle.header.forecasts} forecasts, {bundle.header.signals} signals")
    print(f"build {built - begun:.2f} s, verify {verified - built:.2f} s, together {total:.2f} s (bar {BARS_S} s)")
    print(f"file {len(data):,} bytes, {len(data) / records:.0f} a record")
    if records == 10_000 and total > BARS_S:
        sys.exit(1)


if __name__ == "__main__":
    main()
