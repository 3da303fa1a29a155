r"""Where each key of a TOML text stands.

The standard library's parser gives values without positions. This walks a text that parser has
already accepted, so it need not judge, only keep count: a statement is a table header or
``key = value``, and a value is a string, an array, an inline table or a run of other characters.
What it finds is, for each key path, the offset where the key (or array element) begins.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from providerrank.apps.config.mistakes import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
# Longest quotes first. A multi-line string may end in up to two quotes of its own before the closing three.
_STRING = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:'{0,2})|"(?:[^"\\\n]|\\.)*"|'[^'\n]*\'''', re.DOTALL
)
_OTHER = re.compile(r"[^,\]}#\n]+")


class Lines:
    """Finds the line of a key path in one text; a text that is not TOML has no lines to find."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._offsets: dict[KeyPath, int] = {}
        self._counts: dict[KeyPath, int] = {}
        self._starts = [0] + [match.end() for match in re.finditer("\n", text)]
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return
        self._document()

    def find(self, path: KeyPath) -> int | None:
        """Return the 1-based line of a place, or of the nearest place around it that is in the text."""
        while path:
            if path in self._offsets:
                return bisect_right(self._starts, self._offsets[path])
            path = path[:-1]
        return None

    def paths(self) -> set[KeyPath]:
        """Every place found, for comparing with what the parser found."""
        return set(self._offsets)

    def _document(self) -> None:
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return
            begin = self._at
            if self._text.startswith("[[", begin):
                self._at += 2
                array = self._resolve(self._keys())
                self._at += 2
                index = self._counts.get(array, 0)
                self._counts[array] = index + 1
                table = (*array, index)
                self._note((*array,), begin)
                self._note(table, begin)
            elif self._text[begin] == "[":
                self._at += 1
                table = self._resolve(self._keys())
                self._at += 1
                self._note(table, begin)
            else:
                self._pair(table)

    def _pair(self, table: KeyPath) -> None:
        begin = self._at
        path = (*table, *self._keys())
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._note(path, begin)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        opening = self._text[self._at]
        if opening in "\"'":
            self._skip(_STRING)
        elif opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            self._skip(_OTHER)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "]":
                self._at += 1
                return
            self._note((*path, index), self._at)
            self._value((*path, index))
            index += 1
            self._skip_comma()

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(path)
            self._skip_comma()

    def _keys(self) -> tuple[str, ...]:
        """Read a dotted key and the blanks after it."""
        keys = []
        while True:
            self._skip(_SPACE)
            match = _KEY.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            keys.append(_unquote(match.group()))
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return tuple(keys)
            self._at += 1

    def _resolve(self, keys: tuple[str, ...]) -> KeyPath:
        """In a header, a name that is an array of tables stands for its newest one, save as the last name."""
        path: KeyPath = ()
        for number, key in enumerate(keys, 1):
            path = (*path, key)
            if number < len(keys) and path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _note(self, path: KeyPath, offset: int) -> None:
        """Keep the first sight of a place and of the tables around it."""
        for length in range(1, len(path) + 1):
            self._offsets.setdefault(path[:length], offset)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _skip_comma(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1


def _unquote(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] == '"':
        [name] = tomllib.loads(f"{key} = 0")
        return name
    return key
