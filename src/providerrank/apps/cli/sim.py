"""`providerrank sim`: simulations of the market, in virtual time."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from providerrank.apps.cli.options import JsonOption, print_json
from providerrank.apps.failures import DONE, FAILED, CommandFailed

if TYPE_CHECKING:
    from rich.table import Table

    from providerrank.sim.arena.arena import Result

WIDE = 200
"""Columns where the table is not shown on a terminal."""

sim = App(name="sim", help="Simulate the market, in virtual time, by its own rules.", result_action="return_value")
run = App(name="run", help="Run a simulation.", result_action="return_value")
sim.command(run)

AtLeastOne = Parameter(validator=validators.Number(gte=1))


@run.command
def attacks(
    *,
    epochs: Annotated[int, AtLeastOne, Parameter(help="How many to play.")] = 50,
    miners: Annotated[int, AtLeastOne, Parameter(help="Hotkeys, attackers among them.")] = 64,
    cells: Annotated[int, Parameter(validator=validators.Number(gte=20), help="Endpoint x task, to measure.")] = 200,
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0), help="Of everything random.")] = 1,
    spotted: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0, lte=1),
            help="Share of probes that the colluder's endpoints recognise and serve better.",
        ),
    ] = 0.5,
    as_json: JsonOption = False,
) -> int:
    """Let honest miners and attackers compete, and show what each attack earns and does to the ranking.

    Exits with 1 when an attacker earned more than its bound.

    For example:

        $ providerrank sim run attacks --epochs 10 --seed 7
    """
    try:
        from providerrank.sim.arena.arena import Arena
    except ImportError as error:
        raise CommandFailed(f"the arena needs numpy: install providerrank[market] ({error}).") from None
    try:
        arena = Arena(epochs=epochs, miners=miners, cells=cells, seed=seed, spotted=spotted)
    except ValueError as error:
        raise CommandFailed(f"{error}.") from None
    result = arena.run()
    if as_json:
        print_json(describe(result))
    else:
        from rich.console import Console

        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDE)
        console.print(render(result))
        for line in summarise(result):
            console.print(line, highlight=False, soft_wrap=True)
    return DONE if all(map(result.is_bounded, result.tallies)) else FAILED


def describe(result: Result) -> dict[str, Any]:
    """The result as JSON shows it."""
    return {
        "epochs": result.epochs,
        "honest": {
            "emission_mean": result.honest_mean,
            "emission_twin": result.twin,
            "emission_least": result.honest_least,
            "verdicts": result.honest_bundles,
            "tripped": result.honest_trips,
            "replays_mean": result.replays,
        },
        "attackers": [
            {
                "attacker": one.kind,
                "hotkeys": len(one.hotkeys),
                "emission_of_honest_mean": result.get_relative(one),
                "emission_of_twin": result.get_of_twin(one),
                "bound": one.bound,
                "bound_of": "twin" if one.works else "honest mean",
                "is_bounded": result.is_bounded(one),
                "first_found_epoch": one.caught,
                "bundles_stopped": one.stopped,
                "ranking_moved": fmean(one.swaps),
                "regret_added": fmean(one.regret),
                "why": one.why,
            }
            for one in result.tallies
        ],
        "burned": result.burned,
        "ranking": {"regret": result.regret, "regret_uniform": result.regret_uniform},
        "validators": {
            "copying_dividends_of_honest": result.lazy_dividends,
            "dishonest_dividends_of_honest": result.dishonest_dividends,
        },
    }


def render(result: Result) -> Table:
    """Lay the attackers out as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=f"Attackers, {result.epochs} epochs", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("attacker")
    for name in ("each, of honest", "all, of twin", "bound", "found in epoch", "ranking moved", "regret added"):
        table.add_column(name, justify="right")
    table.add_column("why", overflow="fold")
    for one in result.tallies:
        mean, twin = f"{result.get_relative(one):.1%}", f"{result.get_of_twin(one):.1%}"
        name = one.kind if len(one.hotkeys) == 1 else f"{one.kind} ({len(one.hotkeys)})"
        table.add_row(
            name,
            mean,
            twin,
            f"{one.bound:.0%} of {'twin' if one.works else 'honest'}"
            if result.is_bounded(one)
            else f"[bold red]over {one.bound:.0%}[/]",
            "-" if one.caught is None else str(one.caught),
            f"{fmean(one.swaps):.2%}",
            f"{fmean(one.regret):+.4f}",
            one.why,
        )
    return table


def summarise(result: Result) -> list[str]:
    """What the table does not show."""
    return [
        f"An honest miner has {result.honest_mean:.2%} of the emission on average, {result.twin:.2%} if it "
        f"measures every cell (the twin), {result.honest_least:.2%} at least; "
        f"{result.burned:.1%} is burned. Before anybody had news: {result.standby:.0%} of epochs.",
        f"Of {result.honest_bundles} verdicts on honest bundles {result.honest_trips} were trips; "
        f"{result.replays:.0f} replays each.",
        f"Routing by the verified ranking misses {result.regret:.4f} of utility (0..1), uniform routing "
        f"{result.regret_uniform:.4f}.",
        f"Per stake, the validator that copies weights has {result.lazy_dividends:.0%} of an honest one's dividends, "
        f"the dishonest one with 30 % of stake {result.dishonest_dividends:.1%}.",
    ]
