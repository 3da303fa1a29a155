"""The attack arena over several seeds: what attackers earn, how soon they are found, what they do to the ranking.

    python -m bench.attacks --write      # into bench/RESULTS-attacks.md

Each run is 50 epochs of 64 miners x 200 cells, in virtual time, judged by the market's own rules.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import fmean

from providerrank.sim.arena.arena import Arena, Result, Tally

HERE = Path(__file__).parent
HEAD = (
    "| attacker | each, of an honest mean (most) | all, of the twin (most) | bound | found in epoch | moved | regret |"
)


def play(seed: int, epochs: int, miners: int, cells: int, spotted: float) -> tuple[Result, float]:
    """One run, and the CPU seconds it took."""
    begun = time.process_time()
    result = Arena(epochs=epochs, miners=miners, cells=cells, seed=seed, spotted=spotted).run()
    return result, time.process_time() - begun


def format_row(results: list[Result], at: int) -> str:
    tallies: list[Tally] = [result.tallies[at] for result in results]
    earned = [result.get_relative(tally) for result, tally in zip(results, tallies, strict=True)]
    found = [tally.caught for tally in tallies]
    when = "never" if None in found else f"{min(x for x in found if x)} to {max(x for x in found if x)}"
    if None in found and any(found):
        when = f"{sum(x is not None for x in found)} of {len(found)} runs"
    of_twin = [result.get_of_twin(tally) for result, tally in zip(results, tallies, strict=True)]
    of = "of twin" if tallies[0].works else "of mean"
    return (
        f"| {tallies[0].kind} | {format_share(earned)} | {format_share(of_twin)} | "
        f"{100 * tallies[0].bound:.0f} % {of} | {when} | {fmean(fmean(t.swaps) for t in tallies):.4f} | "
        f"{fmean(fmean(t.regret) for t in tallies):+.4f} |"
    )


def format_share(shares: list[float]) -> str:
    return f"{100 * fmean(shares):.1f} % ({100 * max(shares):.1f} %)"


def write_tables(results: list[Result], seconds: list[float]) -> list[str]:
    """The lines of the report."""
    bundles = sum(result.honest_bundles for result in results)
    trips = sum(result.honest_trips for result in results)
    lines = [HEAD, "|---|---|---|---|---|---|---|"]
    lines += [format_row(results, at) for at in range(len(results[0].tallies))]
    lines += [
        "",
        "The twin, an honest miner that measures every cell, earns of the honest mean: "
        f"{format_share([result.twin / result.honest_mean for result in results])}.",
        f"Epochs before anybody had news: {100 * fmean(r.standby for r in results):.1f} %.",
        f"Honest bundles: {trips} of {bundles} verdicts tripped; {fmean(r.replays for r in results):.0f} replays each.",
        f"Routing by the verified ranking misses {fmean(r.regret for r in results):.4f} of utility, uniform routing "
        f"{fmean(r.regret_uniform for r in results):.4f}.",
        "Dividends per stake, of an honest validator's: the validator that copies weights "
        f"{fmean(r.lazy_dividends for r in results):.2f}, the dishonest one with 30 % of stake "
        f"{fmean(r.dishonest_dividends for r in results):.4f}.",
        f"CPU seconds a run: {', '.join(f'{one:.0f}' for one in seconds)}.",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into bench/RESULTS-attacks.md")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--miners", type=int, default=64)
    parser.add_argument("--cells", type=int, default=200)
    options = parser.parse_args()
    results, seconds = [], []
    for seed in range(1, options.seeds + 1):
        result, spent = play(seed, options.epochs, options.miners, options.cells, 0.5)
        results.append(result)
        seconds.append(spent)
        print(*write_tables(results, seconds), sep="\n", flush=True)
    lines = [
        "# Attack arena: figures measured",
        "",
        f"`python -m bench.attacks --write`: {options.seeds} seeds, {options.epochs} epochs, {options.miners} miners, "
        f"{options.cells} cells. What the attackers do, and why they fail: [attacks](../docs/reference/attacks.md).",
        "",
        "*The twin* is an honest miner that measures every cell. *Moved*: the share of pairs of endpoints that the",
        "verified ranking orders otherwise with the attacker than without; *regret*: the utility routing by it loses.",
        "",
        *write_tables(results, seconds),
    ]
    if options.write:
        (HERE / "RESULTS-attacks.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
