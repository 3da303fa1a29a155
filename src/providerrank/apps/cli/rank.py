"""`providerrank rank`."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from providerrank.apps.cli.options import ConfigOption, JsonOption, load, print_json
from providerrank.apps.failures import DONE, CommandFailed

if TYPE_CHECKING:
    from rich.table import Table

    from providerrank.apps.admin.view import EndpointView, RankingView
    from providerrank.apps.config import Loaded

WIDE = 200
"""Columns of a table that is not shown on a terminal: enough that nothing is cut for whoever reads it later."""


def rank(
    model: Annotated[str, Parameter(help="A model's name or alias.")],
    /,
    *,
    task: Annotated[
        str, Parameter(help="What the requests are about: chat, code, json, tools, long-context.")
    ] = "chat",
    tier: Annotated[str | None, Parameter(help="One of the configuration's tiers.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the endpoints of a model in the order the gateway would try them, and why.

    Reads the configuration and what gateways on it have learned, as of their latest save; no endpoint is
    asked. What only a running gateway knows (load, outages of this minute) is on its admin port.

    For example:

        $ providerrank rank llama-3.3-70b --task tools
    """
    ranking = asyncio.run(read_ranking(load(config), model, task, tier))
    if as_json:
        print_json(ranking)
        return DONE
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(render(ranking))
    for row in ranking.endpoints:
        if row.reason is not None:
            console.print(f"{row.endpoint}: {row.reason}", highlight=False, markup=False, soft_wrap=True)
    return DONE


async def read_ranking(loaded: Loaded, model: str, task: str, tier: str | None) -> RankingView:
    """Rank from configuration and store. Raises ``CommandFailed`` for a name that is not known."""
    from providerrank.apps import compose
    from providerrank.apps.admin.reader import AdminReader, AdminSources, NotFoundError
    from providerrank.apps.version import VERSION
    from providerrank.gateway.stats import Stats
    from providerrank.rules.router import Router

    windows, verified = await compose.read_learned(loaded)
    catalog = compose.build_catalog(loaded.config)
    router = Router(catalog, random.Random(), windows=windows)
    router.verify(verified)
    sources = AdminSources(
        catalog=catalog,
        router=router,
        stats=Stats(),
        is_listening=lambda: False,
        now_us=lambda: time.time_ns() // 1000,
        version=VERSION,
    )
    try:
        return AdminReader(sources).get_ranking(model, task, tier)
    except NotFoundError as error:
        raise CommandFailed(str(error)) from None


def render(ranking: RankingView) -> Table:
    """Lay a ranking out as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{ranking.model}, task {ranking.task}" + (f", tier {ranking.tier}" if ranking.tier else "")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("endpoint", overflow="fold")
    for name in (
        "score",
        "reputation",
        "latency",
        "reliability",
        "uptime",
        "price",
        "TTFT",
        "in/out $/M",
        "requests",
        "verified",
    ):
        table.add_column(name, justify="right")
    table.add_column("state")
    for row in ranking.endpoints:
        table.add_row(*_get_cells(row))
    return table


def _get_cells(row: EndpointView) -> tuple[str, ...]:
    scores = (row.score, row.reputation, row.latency, row.reliability, row.uptime, row.price_score)
    return (
        "-" if row.rank is None else str(row.rank),
        row.endpoint,
        *(f"{score:.2f}" for score in scores),
        f"{row.ttft_s:.2f} s",
        f"{row.price.input_usd:g}/{row.price.output_usd:g}",
        f"{row.requests:.0f}",
        "-" if row.verified is None else f"epoch {row.verified.epoch}, {row.verified.replays} replays",
        row.state,
    )
