"""Tokens billed against tokens counted.

A seller states how many completion tokens it bills; the gateway counts what it delivered. Both are kept per cell as
decayed sums over the requests where both are known (`Window.counted_tokens`, `Window.billed_tokens`), so one odd
request is not an accusation and an old sin fades with the rest of history.

The count is an estimate from bytes, and how many bytes a token has depends on language and content: an absolute
ratio would accuse every seller of a Chinese answer, or of a model that bills its reasoning. So a seller's ratio is
divided by what is *usual* for the model, the (lower) median of all its endpoints' ratios, and never less than 1: the
same text costs the same tokens everywhere. With one endpoint nothing can be said, and nothing is.

Within the tolerance (special tokens, chance) the ratio costs nothing. Beyond it the composite score is multiplied by
``(1 + tolerance) / ratio``: a seller that bills twice what it delivers ranks as about half of what it would be,
whatever its price, since a list price it does not keep says little. Billing under what was counted is the seller's
gift and earns nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    """Billed over counted, over what is usual for the model; above 1."""


def compute_usual_ratio(sums: Iterable[tuple[float, float]], params: Params = PARAMS) -> float:
    """What is usual for a model, of its endpoints' counted and billed tokens: the lower median ratio, at least 1."""
    ratios = sorted(billed / counted for counted, billed in sums if counted >= params.billing_tokens)
    return max(1.0, ratios[(len(ratios) - 1) // 2]) if ratios else 1.0


def compute_billing_ratio(
    counted_tokens: float, billed_tokens: float, usual: float = 1.0, params: Params = PARAMS
) -> float:
    """Billed over counted, over what is ``usual``; 1.0 until enough tokens were counted to judge."""
    if counted_tokens < params.billing_tokens:
        return 1.0
    return billed_tokens / counted_tokens / usual


def compute_honesty(counted_tokens: float, billed_tokens: float, usual: float = 1.0, params: Params = PARAMS) -> float:
    """The factor on the composite score, 0..1: 1 within the tolerance, falling as the ratio grows beyond it."""
    ratio = compute_billing_ratio(counted_tokens, billed_tokens, usual, params)
    return min(1.0, (1.0 + params.billing_tolerance) / ratio) if ratio > 1.0 else 1.0


def get_overbilling(cell: Cell, window: Window, usual: float = 1.0, params: Params = PARAMS) -> Overbilling | None:
    """What to report of a cell; None when it bills within the tolerance or too little is known."""
    counted, billed = window.counted_tokens, window.billed_tokens
    ratio = compute_billing_ratio(counted, billed, usual, params)
    if ratio <= 1.0 + params.billing_tolerance:
        return None
    return Overbilling(cell, counted, billed, ratio)
