"""`providerrank doctor`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from providerrank.apps.cli.options import ConfigOption, JsonOption, load, print_json
from providerrank.apps.failures import DONE, FAILED

if TYPE_CHECKING:
    from providerrank.apps.doctor import Diagnosis

MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED ", "skipped": "-      "}


def doctor(
    *,
    timeout: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 30.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Reach each endpoint, check what it can do, and say what to fix.

    Looks at the connection, the key, the model's name, an answer, usage, streaming, tools and JSON schema, with
    a handful of tiny requests to each endpoint (some hundred tokens). Exits 1 if an endpoint cannot be used.

    For example:

        $ providerrank doctor -c providerrank.toml

    Parameters
    ----------
    timeout
        Seconds an endpoint gets for one answer.
    """
    loaded = load(config)

    from providerrank.apps.doctor import examine

    found = asyncio.run(examine(loaded, timeout))
    if as_json:
        print_json(found)
    else:
        _print(found)
    return DONE if all(diagnosis.usable for diagnosis in found) else FAILED


def _print(found: list[Diagnosis]) -> None:
    for diagnosis in found:
        print(diagnosis.endpoint)
        for check in diagnosis.checks:
            print(f"  {MARKS[check.status]} {check.name:<12} {check.says}")
    usable = sum(diagnosis.usable for diagnosis in found)
    print(f"{usable} of {len(found)} endpoints can be used.")
