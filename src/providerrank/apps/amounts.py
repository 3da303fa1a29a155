"""Amounts of coins, as people write and read them: exact."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from providerrank.market.ports import RAO


def parse_tao(text: str) -> int:
    """Read an amount of TAO as rao, exactly. Raises ValueError."""
    try:
        rao = Decimal(text) * RAO
        if rao.is_finite() and rao >= 0 and rao == int(rao):
            return int(rao)
    except (InvalidOperation, OverflowError):
        pass
    raise ValueError(f"{text!r} is no amount of TAO: write a number with at most nine decimals")


def format_tao(rao: int) -> str:
    """Write rao as TAO, with all that is there and no more."""
    whole, rest = divmod(abs(rao), RAO)
    decimals = f".{rest:09}".rstrip("0") if rest else ""
    return f"{'-' if rao < 0 else ''}{whole:,}{decimals}"
