"""Work that nobody waits for, done on a thread of its own from a bounded queue.

Whatever the work does, and however long it takes, ``put`` costs an append: where the queue is full the item is dropped
and counted. The thread hands over small batches and lets go of the interpreter between them, so that the event
loop beside it never waits for a whole queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

logger = logging.getLogger("providerrank.batches")

BATCH: Final = 64
"""Items handed over at once: a few hundred microseconds of somebody else's waiting."""


class Batches(Generic[T]):
    """Hands items to ``handle`` every ``every_s`` seconds; ``close`` hands over the rest."""

    def __init__(self, handle: Callable[[list[T]], None], *, name: str, most: int, every_s: float) -> None:
        self._handle = handle
        self._most = most
        self._every_s = every_s
        self._queue: deque[T] = deque()
        self._ended = threading.Event()
        self.dropped = 0
        """Items that found the queue full."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Have an item handed over soon; never waits."""
        if len(self._queue) >= self._most:
            self.dropped += 1
        else:
            self._queue.append(item)

    @property
    def is_empty(self) -> bool:
        """Nothing waits."""
        return not self._queue

    def close(self, within_s: float) -> None:
        """Hand over what is left and end; give up after ``within_s``."""
        self._ended.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        queue = self._queue
        for _ in range(self._most):
            batch = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
            if not batch:
                return
            try:
                self._handle(batch)
            except Exception as error:  # noqa: BLE001  # one bad batch is not to end all later ones
                logger.warning("a batch was lost: worker=%s error=%s", self._thread.name, type(error).__name__)
            time.sleep(0)
