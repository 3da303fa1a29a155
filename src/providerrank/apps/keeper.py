"""Saves what the router learns, every few seconds and at the end.

A save that fails loses nothing: the windows it was about are tried again with the next ones. They are
live values, so a later save writes what they have become.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from providerrank.engines.errors import StoreError
from providerrank.gateway.ports import FindingStore, WindowStore
from providerrank.rules.cells import Cell
from providerrank.rules.router import Router
from providerrank.rules.verified import Verified, combine_findings
from providerrank.rules.window import Window

logger = logging.getLogger("providerrank.keeper")

SAVE_EVERY_S = 5.0
"""What a crash may forget; a save costs milliseconds."""


LOOK_EVERY_S = 15.0
"""For what validators have found since: an epoch takes an hour, in trials on one machine seconds."""
RENEW_S = 300.0
"""After so long what was found is told again though it has not changed: it fades as it ages."""


class Watch:
    """Tells what the market has verified whenever the store holds something new."""

    def __init__(
        self, store: FindingStore, tell: Callable[[Mapping[Cell, Verified]], object], every_s: float = LOOK_EVERY_S
    ) -> None:
        self._store = store
        self._tell = tell
        self._every_s = every_s
        self._known: frozenset[tuple[Cell, str, int]] = frozenset()
        self._waited_s = 0.0
        self._failing = False

    async def run(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            self._waited_s += self._every_s
            await self.look()

    async def look(self) -> None:
        """Look once. What cannot be read stays as it was known."""
        try:
            findings = await self._store.load_findings()
        except StoreError as error:
            if not self._failing:
                logger.warning("what the market has verified cannot be read: %s", error)
            self._failing = True
            return
        self._failing = False
        known = frozenset((finding.cell, finding.validator, finding.epoch) for finding in findings)
        if known != self._known or (known and self._waited_s >= RENEW_S):
            self._known, self._waited_s = known, 0.0
            self._tell(combine_findings(findings))


class Keeper:
    """Keeps one router's windows in one store."""

    def __init__(self, router: Router, store: WindowStore, every_s: float = SAVE_EVERY_S) -> None:
        self._router = router
        self._store = store
        self._every_s = every_s
        self._unsaved: dict[Cell, Window] = {}
        self._failing = False
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Save every few seconds until ``end``, and then a last time."""
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), self._every_s)
            await self.save()

    def end(self) -> None:
        """Have ``run`` save once more and return; it is never cut off inside a save."""
        self._ended.set()

    async def save(self) -> None:
        """Save what changed since it was last saved; says once when that begins to fail and when it ends."""
        self._unsaved.update(self._router.windows())
        try:
            await self._store.save(list(self._unsaved.items()))
        except StoreError as error:
            if not self._failing:
                logger.warning("what was learned cannot be saved and is kept for the next try: %s", error)
            self._failing = True
            return
        if self._failing:
            logger.warning("what was learned is saved again")
        self._failing = False
        self._unsaved.clear()
