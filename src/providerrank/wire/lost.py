"""What a translation could not carry.

Between two APIs some things have no counterpart. Those that ask for a saving or carry a name (cache marks, metadata,
user ids, service tiers) are left out without a word, and the docs list them. Those that would change the answer are
named here, as the client would name them: ``top_k``, ``messages[2].content[0].source``. What is to be done about it
(refuse, pass on to another endpoint, go on regardless) is not a translation's to decide.
"""

from __future__ import annotations


class Losses:
    """Gathers the names of fields that were not carried, each once, in the order they were met."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def add(self, name: str) -> None:
        """Note a field, by its dotted path from the top of the request."""
        self._names[name] = None

    @property
    def names(self) -> tuple[str, ...]:
        """Everything noted."""
        return tuple(self._names)
