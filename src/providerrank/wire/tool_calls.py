"""The tool calls of an answer, whole or in pieces, as far as judging them needs: which tool, and what it is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from providerrank.wire.raw import Raw

MAX_BYTES: Final = 256 * 1024
"""Characters of all arguments of an answer that are kept to be judged; an answer with more is not."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function."""

    name: str
    arguments: str | None
    """JSON, or what should be; None: something that is no text at all."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None  # whatever it is; that it is no text is what is to be found out


class _Call(msgspec.Struct):
    function: _Function | None = None
    index: int | None = None


_call = msgspec.json.Decoder(_Call)


def read_calls(calls: Iterable[Raw]) -> list[Call]:
    """The function calls of a whole message; what is none of the sort is left out."""
    read = []
    for raw in calls:
        try:
            function = _call.decode(raw).function
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if function is not None:
            given = "" if function.arguments is None else function.arguments
            read.append(Call(function.name or "", given if isinstance(given, str) else None))
    return read


class Calls:
    """The function calls of a stream, put together as its client would."""

    __slots__ = ("_left", "_names", "_pieces")

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._pieces: dict[int, list[str]] = {}
        self._left = MAX_BYTES

    def add(self, deltas: Iterable[Raw]) -> None:
        """Take what one event says of calls."""
        for raw in deltas:
            if self._left < 0:
                return
            try:
                call = _call.decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            function, index = call.function, call.index or 0
            if function is None:
                continue
            pieces = self._pieces.setdefault(index, [])
            if function.name:
                self._names.setdefault(index, function.name)
            if isinstance(function.arguments, str):
                pieces.append(function.arguments)
                self._left -= len(function.arguments)

    def read(self) -> list[Call]:
        """All of them; none where there was more than is kept."""
        if self._left < 0:
            return []
        return [Call(self._names.get(index, ""), "".join(pieces)) for index, pieces in self._pieces.items()]
