"""`providerrank demo`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter, validators

from providerrank.apps.cli.options import JsonOption


def demo(
    *,
    seconds: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    simulated: Annotated[bool, Parameter(negative="")] = False,
    as_json: JsonOption = False,
) -> int:
    """Route real prompts over several endpoints of one real model while they break, one by one.

    Shows the ranking live and, at the end, what the client saw of it. Exits 1 if the client saw a failure.

    For example:

        $ providerrank demo --seconds 60

    Parameters
    ----------
    seconds
        End after a show of this length; without it the gateway stays up until Ctrl-C.
    simulated
        Use simulated endpoints even where the real model is installed.
    """
    from providerrank.apps.demo.show import DemoOptions, run_demo

    return run_demo(DemoOptions(seconds=seconds, simulated=simulated, as_json=as_json))
