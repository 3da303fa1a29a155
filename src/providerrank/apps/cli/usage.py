"""`providerrank usage`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from providerrank.apps.cli.options import ConfigOption, JsonOption, load, print_json
from providerrank.apps.failures import DONE, CommandFailed

if TYPE_CHECKING:
    from rich.table import Table

    from providerrank.apps.admin.view import BudgetView, KeyView, UsageView
    from providerrank.apps.config import Loaded


def usage(*, config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Show what each key with a name has used today and this minute, and what it has left.

    Reads the accounts beside the configuration, which every gateway process on it shares; whether one runs does not
    matter. What each key used of each endpoint is on the admin port: `GET /v1/usage`.

    For example:

        $ providerrank usage --json
    """
    view = read_usage(load(config))
    if as_json:
        print_json(view)
        return DONE
    from rich.console import Console

    from providerrank.apps.admin.usage import describe_end
    from providerrank.apps.cli.rank import WIDE

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    if not view.keys:
        console.print('No keys with names: add one under the header "[[keys]]".', markup=False)
        return DONE
    console.print(render(view))
    console.print(f"Budgets for a day are renewed at {describe_end(view)}.", highlight=False)
    return DONE


def read_usage(loaded: Loaded) -> UsageView:
    """Read the accounts of a configuration's keys; one nobody has used yet is empty. Raises ``StoreError``."""
    from providerrank.apps import compose
    from providerrank.apps.admin.usage import KeyReading, view_usage
    from providerrank.engines.ledger_memory import MemoryLedger
    from providerrank.gateway.ports import LedgerLost
    from providerrank.gateway.stats import KeyStats

    now_us = time.time_ns() // 1_000
    ledger = compose.open_ledger(loaded) if compose.has_ledger(loaded) else MemoryLedger()
    try:
        readings = [
            KeyReading(key, ledger.open(key.name).read(now_us), KeyStats()) for key in compose.build_buyer_keys(loaded)
        ]
    except LedgerLost as error:
        raise CommandFailed(str(error)) from None
    finally:
        ledger.close()
    return view_usage(readings, now_us)


def render(view: UsageView) -> Table:
    """Lay usage out as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=f"{view.day} (UTC)", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("key", overflow="fold")
    for name in ("spent today", "requests", "tokens in", "tokens out", "requests this minute", "tokens this minute"):
        table.add_column(name, justify="right")
    for key in view.keys:
        table.add_row(*_get_cells(key))
    return table


def _get_cells(key: KeyView) -> tuple[str, ...]:
    return (
        key.key,
        _write(key.spend_today, "${:,.4f}"),
        f"{key.requests_today:,}",
        f"{key.input_tokens_today:,}",
        f"{key.output_tokens_today:,}",
        _write(key.requests_this_minute, "{:,.0f}"),
        _write(key.tokens_this_minute, "{:,.0f}"),
    )


def _write(budget: BudgetView, form: str) -> str:
    used = form.format(budget.used)
    return used if budget.limit is None else f"{used} of {form.format(budget.limit)}"
