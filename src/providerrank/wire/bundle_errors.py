"""Why a bundle is refused: one type and one code for each reason, with the line it was found on.

The codes are part of the protocol's vocabulary: a validator logs them, a miner acts on them, ``bundle verify`` prints
them. Each costs the sender its epoch at most.
"""

from __future__ import annotations

from typing import ClassVar

from providerrank.wire.errors import WireError


class BundleRefused(WireError):
    """A bundle that is not accepted. ``line`` counts from 1; None where the fault is in no one line."""

    code: ClassVar[str] = "refused"

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(f"{reason}." if line is None else f"line {line}: {reason}.")
        self.reason = reason
        self.line = line


class MalformedBundle(BundleRefused):
    """Not canonical JSON of the shape the format has, or not the number of lines its header counts."""

    code = "malformed"


class OversizedBundle(BundleRefused):
    """Past a bound: the file, a line, or a count."""

    code = "oversized"


class MisSignedBundle(BundleRefused):
    """The hotkey in the header did not sign this header."""

    code = "mis-signed"


class AlteredBundle(BundleRefused):
    """The lines are not the ones whose root was signed."""

    code = "altered"


class WrongVersion(BundleRefused):
    """Made for another version of the format or of the rules."""

    code = "wrong-version"


class WrongEpoch(BundleRefused):
    """Made for another epoch, or another subnet."""

    code = "wrong-epoch"


class DuplicateRecord(BundleRefused):
    """Two records of one challenge, two forecasts of one cell, or two signals of one model and task."""

    code = "duplicate-record"


class InconsistentBundle(BundleRefused):
    """Values that cannot all be true: TTFT past the total, a record outside its epoch, weights that do not sum."""

    code = "inconsistent"
