"""A chain as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from providerrank.apps.amounts import format_tao
from providerrank.market.ports import WeightRow

if TYPE_CHECKING:
    from providerrank.engines.chain_reads import PastEpoch, Report

WIDE = 200
"""Columns where the output is not shown on a terminal."""
MOST_WEIGHTS = 8
"""Of a row, the greatest: --json has all."""
U16_MAX = 65_535
HEADERS = ("stake", "trust", "consensus", "incentive", "dividends", "emission", "last update")


def show(report: Report) -> None:
    """Print the present."""
    console = _open_console()
    head, phases = report.head, report.head.phases
    at = datetime.fromtimestamp(head.time_us / 1_000_000, UTC).isoformat(sep=" ", timespec="seconds")
    _say(console, f"block {head.block} at {at}, epoch {head.epoch}: blocks {head.begins} to {head.ends - 1}")
    now = (
        "commitments are taken"
        if phases.may_commit(head.block)
        else "reveals are taken"
        if phases.may_reveal(head.block)
        else "validators replay"
    )
    until = f"commit before {phases.commit_until}, reveal before {phases.reveal_until}, ends before {phases.ends}"
    _say(console, f"{now}: {until}")
    table = _build_table("uid", "hotkey", "free", *HEADERS, "may", "serves at")
    for one in report.metagraph.neurons:
        shares = (one.trust_u16, one.consensus_u16, one.incentive_u16, one.dividends_u16)
        table.add_row(
            str(one.uid),
            one.hotkey,
            format_tao(report.free_rao.get(one.hotkey, 0)),
            format_tao(one.stake_rao),
            *map(_format_share, shares),
            format_tao(one.emission_rao),
            str(one.last_update),
            ("owner" if one.uid == report.metagraph.owner_uid else "validate" if one.permit else "")
            + ("" if one.active else " (inactive)"),
            one.address or "",
        )
    console.print(table)
    _show_weights(console, report.weights)
    if report.commitments:
        _say(console, f"committed in epoch {head.epoch}:")
        for commitment in report.commitments:
            revealed = "" if commitment.revealed_at is None else f", revealed in block {commitment.revealed_at}"
            _say(console, f"  {commitment.hotkey}  {commitment.digest}  in block {commitment.block}{revealed}")
    books = report.books
    parts = f"{format_tao(books.free_rao)} free + {format_tao(books.staked_rao)} staked"
    verdict = "balances" if books.difference_rao == 0 else f"OFF BY {format_tao(books.difference_rao)}"
    _say(console, f"issued {format_tao(books.issued_rao)} = {parts} + {format_tao(books.burned_rao)} burned: {verdict}")


def show_epoch(past: PastEpoch) -> None:
    """Print an epoch that has ended."""
    console = _open_console()
    _say(console, f"epoch {past.epoch}, blocks {past.begins} to {past.ends - 1}")
    table = _build_table("uid", "hotkey", *HEADERS, "may, next")
    for one in past.neurons:
        shares = (one.trust, one.consensus, one.incentive, one.dividends)
        table.add_row(
            str(one.uid),
            one.hotkey,
            format_tao(one.stake_rao),
            *map(_format_share, shares),
            format_tao(one.emission_rao),
            str(one.last_update),
            "validate" if one.permit else "",
        )
    console.print(table)
    _show_weights(console, past.weights)
    parts = f"{format_tao(past.miners_rao)} to miners, {format_tao(past.validators_rao)} to validators"
    _say(console, f"issued {format_tao(past.emission_rao)}: {parts}, {format_tao(past.burned_rao)} burned")


def _show_weights(console: Console, weights: Mapping[int, WeightRow]) -> None:
    if weights:
        _say(console, "weights, as shares of their row:")
    for uid, row in weights.items():
        total = sum(weight for _, weight in row)
        greatest = sorted(row, key=lambda pair: (-pair[1], pair[0]))
        said = ", ".join(f"uid {on} {weight / total:.1%}" for on, weight in greatest[:MOST_WEIGHTS])
        more = "" if len(row) <= MOST_WEIGHTS else f", and {len(row) - MOST_WEIGHTS} more"
        _say(console, f"  uid {uid}: {said}{more}")


def _build_table(*names: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        left: Sequence[str] = ("hotkey", "may", "may, next", "serves at")
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    return table


def _format_share(share_u16: int) -> str:
    return f"{share_u16 / U16_MAX:.3f}"


def _open_console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
