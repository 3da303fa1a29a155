"""Asking a chain until it answers: every call of the port may be repeated."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from providerrank.market.errors import ChainUnavailable

logger = logging.getLogger("providerrank.chain")

RETRY_S: Final = 1.0
"""Between tries: a block's time is the least that matters."""

T = TypeVar("T")


async def patiently(act: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[object]]) -> T:
    """Do something on the chain, again and again while nobody answers; says once when that begins and when it ends.

    Raises ``Refused``, which is an answer.
    """
    failing = False
    while True:
        try:
            result = await act()
        except ChainUnavailable as error:
            if not failing:
                logger.warning("the chain does not answer, and is asked again: reason=%s", error)
            failing = True
        else:
            if failing:
                logger.warning("the chain answers again")
            return result
        await sleep(RETRY_S)
