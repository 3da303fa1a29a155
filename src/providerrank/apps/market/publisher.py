"""Where a validator's findings go: the store that gateways rank from, or nowhere but memory."""

from __future__ import annotations

from collections.abc import Sequence

from providerrank.rules.cells import Cell
from providerrank.rules.verified import Finding


class MemoryPublisher:
    """Keeps findings as long as the object lasts."""

    def __init__(self) -> None:
        self.findings: dict[tuple[Cell, str], Finding] = {}

    async def publish(self, findings: Sequence[Finding]) -> None:
        """Keep the newest of each validator."""
        self.findings.update({(finding.cell, finding.validator): finding for finding in findings})
