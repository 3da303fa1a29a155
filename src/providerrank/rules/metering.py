"""Tokens billed against tokens counted.

A seller states how many completion tokens it bills; the gateway counts what it delivered. Both are kept per cell as
decayed sums over the requests where both are known (`Window.counted_tokens`, `Window.billed_tokens`), so one odd
request is not an accusation and an old sin fades with the rest of history.

Within the tolerance (tokenizers differ on special tokens, and a count from bytes is an estimate) the ratio costs
nothing. Beyond it the composite score is multiplied by ``(1 + tolerance) / ratio``: a seller that bills twice what it
delivers ranks as about half of what it would be, whatever its price, since a list price it does not keep
says little. Billing under what was counted is the seller's gift and earns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from providerrank.rules.cells import Cell
from providerrank.rules.params import PARAMS, Params
from providerrank.rules.window import Window


@dataclass(frozen=True, slots=True)
class Overbilling:
    """A cell whose seller bills beyond the tolerance, for the session report."""

    cell: Cell
    counted_tokens: float
    billed_tokens: float
    ratio: float
    """Billed over counted, above 1."""


def compute_billing_ratio(counted_tokens: float, billed_tokens: float, params: Params = PARAMS) -> float:
    """Billed over counted; 1.0 until enough tokens were counted to judge."""
    if counted_tokens < params.billing_tokens:
        return 1.0
    return billed_tokens / counted_tokens


def compute_honesty(counted_tokens: float, billed_tokens: float, params: Params = PARAMS) -> float:
    """The factor on the composite score, 0..1: 1 within the tolerance, falling as the ratio grows beyond it."""
    ratio = compute_billing_ratio(counted_tokens, billed_tokens, params)
    return min(1.0, (1.0 + params.billing_tolerance) / ratio) if ratio > 1.0 else 1.0


def get_overbilling(cell: Cell, window: Window, params: Params = PARAMS) -> Overbilling | None:
    """What to report of a cell; None when it bills within the tolerance or too little is known."""
    counted, billed = window.counted_tokens, window.billed_tokens
    ratio = compute_billing_ratio(counted, billed, params)
    if ratio <= 1.0 + params.billing_tolerance:
        return None
    return Overbilling(cell, counted, billed, ratio)
