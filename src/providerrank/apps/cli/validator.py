"""`providerrank validator`."""

from __future__ import annotations

import secrets
import sys
from typing import Annotated

from cyclopts import App, Parameter

from providerrank.apps.cli.options import ConfigOption, load
from providerrank.apps.failures import DONE

validator = App(name="validator", help="Judge what miners claim.", result_action="return_value")


@validator.command
def run(
    *,
    config: ConfigOption = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Do everything but spend and submit; say what would be done.")
    ] = False,
    epochs: Annotated[int | None, Parameter(help="Stop after so many epochs; else run until told to stop.")] = None,
) -> int:
    """Validate: replay what miners claim, judge and score it, set weights, publish what is verified; every epoch.

    Stop it however you like, kill -9 included, and start it again: it goes on where it was. Exit code 0: it was told to
    stop, or the epochs are over; 1: the chain, the journal or an address cannot be used, and it says which.

    For example:

        $ providerrank validator run -c providerrank.toml --dry-run --epochs 1
    """
    import asyncio

    from providerrank.apps import logs
    from providerrank.apps.market.run import run_validator

    loaded = load(config)
    logs.configure(loaded.config.gateway.log, loaded.config.gateway.log_level)
    asyncio.run(run_validator(loaded, dry_run=dry_run, epochs=epochs))
    return DONE


@validator.command
def address(
    *,
    config: ConfigOption = None,
    new: Annotated[bool, Parameter(negative="", help="Make a new hotkey, and print its seed and address.")] = False,
) -> int:
    """Show the address of the configured hotkey, or make a new one.

    The seed is the secret: put it into the environment variable that [validator] key names. The address is what others,
    and the chain, know this validator by.

    For example:

        $ providerrank validator address --new
    """
    from providerrank.wire.signature import SEED_BYTES, Hotkey

    if new:
        seed = secrets.token_bytes(SEED_BYTES)
        sys.stdout.write(f"seed     {seed.hex()}\naddress  {Hotkey(seed).address}\n")
        return DONE
    from providerrank.apps.market.compose import get_key

    loaded = load(config)
    sys.stdout.write(get_key(loaded, loaded.config.validator.key, "validator").address + "\n")
    return DONE
