"""Windows kept in this process only: for tests, for the demo, and for whoever wants nothing on disk."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from providerrank.rules.cells import Cell
from providerrank.rules.verified import Finding
from providerrank.rules.window import Window

_RECORD = msgspec.json.Decoder(dict[str, object])


class MemoryStore:
    """A ``WindowStore`` that lasts as long as the object; what is loaded shares nothing with what was saved."""

    def __init__(self) -> None:
        self._records: dict[Cell, bytes] = {}
        self._findings: dict[tuple[Cell, str], Finding] = {}

    async def load(self) -> list[tuple[Cell, Window]]:
        """Everything kept, in any order."""
        return [(cell, Window.from_record(_RECORD.decode(record))) for cell, record in self._records.items()]

    async def save(self, windows: Sequence[tuple[Cell, Window]]) -> None:
        """Replace the kept window of each given cell, all or nothing."""
        # Encoded before anything is replaced: a window that cannot be encoded changes nothing.
        self._records.update({cell: msgspec.json.encode(window.to_record()) for cell, window in windows})

    async def load_findings(self) -> list[Finding]:
        """The newest of each cell and validator."""
        return list(self._findings.values())

    async def save_findings(self, findings: Sequence[Finding]) -> None:
        """Keep findings that are not older than what is kept."""
        for finding in findings:
            key = finding.cell, finding.validator
            if key not in self._findings or self._findings[key].epoch <= finding.epoch:
                self._findings[key] = finding

    async def close(self) -> None:
        """Nothing to release; what was kept stays with the object, so that a test can reopen it."""
