"""Small parts of HTML that every page is made of."""

from __future__ import annotations

import html

_UNKNOWN = '<span class="none">unknown</span>'


def escape(text: str) -> str:
    """Text, wherever in a document it stands."""
    return html.escape(text, quote=True)


def document(title: str, header: str, body: str, head: str = "") -> str:
    """A whole document; ``title`` is text, the rest HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="/page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/page/page.css">
{head}</head>
<body>
{header}
{body}
</body>
</html>
"""


def seconds(value: float | None) -> str:
    """A time as people read it."""
    if value is None:
        return _UNKNOWN
    return f"{value * 1000:.0f} ms" if abs(value) < 1 else f"{value:.2f} s"


def percent(value: float) -> str:
    """A share. Never rounded up to a hundred: that is a claim about reliability."""
    return "100 %" if value >= 0.99995 else f"{int(value * 10_000) / 100:.2f} %"


def money(usd: float) -> str:
    """US dollars, small ones with four decimals, and the cost of a request with six."""
    if usd >= 1:
        return f"${usd:,.2f}"
    return f"${usd:.4f}" if usd >= 0.01 or usd == 0 else f"${usd:.6f}"
