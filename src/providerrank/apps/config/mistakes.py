"""What is wrong with a file: where, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SHOWN_CHARACTERS = 60
"""Enough of a wrong value to recognise it by."""

PathPart = str | int
KeyPath = tuple[PathPart, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with the file: where, and a sentence that says what to do about it."""

    path: KeyPath
    """Keys and 0-based indices from the top of the file; empty for the file as a whole."""
    sentence: str
    """What is wrong and the remedy, to be read after the place; never a secret."""
    line: int | None = None
    """1-based; None until located, or where the file has no such place."""


class ConfigRefused(Exception):
    """The file has mistakes; ``str`` gives one line for each, in the file's order."""

    def __init__(self, path: Path, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__(path, mistakes)
        self.path = path
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "\n".join(format_mistake(self.path, mistake) for mistake in self.mistakes)


def format_path(path: KeyPath) -> str:
    """Write a key path as the file's reader would: ``endpoints[2].price.input``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part.replace("_", "").replace("-", "").isalnum() else f'"{part}"'
            text += f".{shown}" if text else shown
    return text


def show(text: str) -> str:
    """Quote a value of the file for a message: on one line, and no longer than it takes to recognise it."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return f'"{shown}"' if len(shown) <= SHOWN_CHARACTERS else f'"{shown[:SHOWN_CHARACTERS]}…"'


def format_mistake(file: Path, mistake: Mistake) -> str:
    """Put file, line and place before the sentence."""
    where = f"{file}:{mistake.line}" if mistake.line else str(file)
    place = format_path(mistake.path)
    return f"{where}: {place} {mistake.sentence}" if place else f"{where}: {mistake.sentence}"
