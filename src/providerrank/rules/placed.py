"""What a ranking is sorted by (``rules.router``). A Struct, since thousands are made for one ranking."""

from __future__ import annotations

import msgspec

from providerrank.rules.state import Standing


class Placed(msgspec.Struct, gc=False):
    """One endpoint on its way into a ranking."""

    place: tuple[bool, bool, float]
    standing: Standing
    failed: tuple[str, ...]
    shown: str
    belief: float
    effective: float
