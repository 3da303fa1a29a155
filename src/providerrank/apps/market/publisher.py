"""Where a validator's findings go: the store that gateways rank from, or nowhere but memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from providerrank.engines.errors import StoreError
from providerrank.gateway.ports import FindingStore
from providerrank.rules.cells import Cell
from providerrank.rules.verified import Finding

logger = logging.getLogger("providerrank.publisher")


class MemoryPublisher:
    """Keeps findings as long as the object lasts."""

    def __init__(self) -> None:
        self.findings: dict[tuple[Cell, str], Finding] = {}

    async def publish(self, findings: Sequence[Finding]) -> None:
        """Keep the newest of each validator."""
        self.findings.update({(finding.cell, finding.validator): finding for finding in findings})


class StorePublisher:
    """Keeps findings in the store that gateways rank from; what cannot be kept is said, and no epoch is lost by it."""

    def __init__(self, store: FindingStore) -> None:
        self._store = store

    async def publish(self, findings: Sequence[Finding]) -> None:
        """Keep the newest of each validator."""
        try:
            await self._store.save_findings(findings)
        except StoreError as error:
            logger.warning("what was verified cannot be kept: %s", error)
