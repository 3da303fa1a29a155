"""The market's parameters: every number its rules use, with its unit and reason.

Versioned together with `providerrank.rules.params`: a bundle names that version, and validators judge it by these.
Units are in the names; a bare number is a ratio or a count.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MarketParams:
    """Parameters of gate, scoring and emission."""

    # Emission.
    cap_ppm: int = 150_000
    """Greatest share of one miner: 15 %, so that seven miners are needed to take all there is."""
    average_step: float = 0.2
    """Of an epoch's score in the average: five epochs (six hours on Bittensor) make two thirds of it."""
    average_negligible: float = 1e-6
    """An average below this is forgotten: 1e-6 of a perfect score is no weight in 65535."""

    # Duplicates.
    duplicate_records: int = 3
    """Measurements two bundles share to the microsecond before they are one: chance gives one in 1e5 records at most,
    where total times spread over no more than half a millisecond; three in a few hundred, once in 1e8 pairs."""
    duplicate_shared: int = 60
    """Challenges both must have measured before their residuals are compared."""
    duplicate_agreement: float = 0.75
    """Share of residuals on the same side: 0.5 by chance, 0.6 where two miners share a vantage point and an hour."""
    duplicate_p: float = 1e-9
    """Chance of so much agreement between independent miners, per pair: with 256 miners, once in 30,000 epochs."""


MARKET = MarketParams()
