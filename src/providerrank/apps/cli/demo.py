"""`providerrank demo`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter, validators

from providerrank.apps.cli.options import JsonOption


def demo(
    *,
    seconds: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    simulated: Annotated[bool, Parameter(negative="")] = False,
    market: bool = True,
    epochs: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=100))] = 3,
    epoch_seconds: Annotated[float | None, Parameter(validator=validators.Number(gte=5, lte=3600))] = None,
    as_json: JsonOption = False,
) -> int:
    """Route real prompts over endpoints of one real model while they break, one by one; then have them measured.

    Shows the ranking live and, at the end, what the client saw of it. Then four miners, one of them a liar, measure the
    same endpoints, two validators replay, and the gateway's ranking cites what is verified. Exits 1 if the client saw a
    failure or the liar was not caught.

    For example:

        $ providerrank demo --seconds 60

    Parameters
    ----------
    seconds
        Length of the show. With it the command ends by itself, once the market is over too; without it the gateway
        stays up until Ctrl-C.
    simulated
        Use simulated endpoints even where the real model is installed.
    market
        Whether miners and validators follow.
    epochs
        How many epochs they work.
    epoch_seconds
        How long an epoch is; without it as long as this machine needs for its samples, which is measured.
    """
    from providerrank.apps.demo.market import Act
    from providerrank.apps.demo.show import DemoOptions, run_demo

    act = Act(epochs, epoch_seconds) if market else None
    return run_demo(DemoOptions(seconds=seconds, simulated=simulated, market=act, as_json=as_json))
