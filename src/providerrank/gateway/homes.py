"""Which endpoint keeps the conversation that an answer belongs to.

A Response can be gone on from by its id (``previous_response_id``), and so can a Message of a thread. The words before
it are then with the endpoint that gave it, and nowhere else: such a request goes there, or fails and says why. Asked of
another endpoint it would at best be refused.

Remembered are ids of answers that were passed on as their endpoint gave them, in this process, the latest ones. An
answer that nobody here remembers may be gone on from wherever its API is spoken: who does not have it says so, and the
next is asked.
"""

from __future__ import annotations

from dataclasses import replace

from providerrank.rules.ask import Preferences
from providerrank.wire.intake import Intake

KEPT = 10_000
"""Answers: a few megabytes. A conversation needs only its latest."""

LONGEST_ID = 256
"""Bytes of an id are the endpoint's to choose, and ours to bound."""


def explain_home(endpoint_id: str) -> str:
    """Why nobody else is asked."""
    return f"The answer it goes on from is kept by {endpoint_id} alone."


class Homes:
    """The endpoints of the latest answers that can be gone on from."""

    __slots__ = ("_homes", "_kept")

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._homes: dict[str, str] = {}

    def keep(self, answer_id: str | None, endpoint_id: str) -> None:
        """An endpoint gave an answer under this id."""
        if not answer_id or len(answer_id) > LONGEST_ID:
            return
        homes = self._homes
        homes.pop(answer_id, None)
        homes[answer_id] = endpoint_id
        if len(homes) > self._kept:
            del homes[next(iter(homes))]

    def lead(self, intake: Intake) -> None:
        """Confine a request to where the answer is that it goes on from, where that is known."""
        home = self._homes.get(intake.origin or "")
        if home is None:
            return
        given = intake.preferences or Preferences()
        if not given.only:
            intake.home = home
            intake.preferences = replace(given, only=(home,))
