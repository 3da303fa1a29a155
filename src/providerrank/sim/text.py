"""What simulated endpoints say: a text that is a function of the prompt and of nothing else.

Two endpoints asked the same thing give the same text, so a gateway that restarts an answer elsewhere
can be held to the byte. The text is a stretch of one fixed, pseudo-random sequence of words (the
*corpus*), begun at a place the prompt's hash chooses; a stretch costs a slice, and four words of it
occur at one place only in all but a few cases, which is what splicing needs. Some words are
multi-byte in UTF-8, some need escaping in JSON, so nobody passes by handling ASCII alone.

A *piece* is what one token stands for: a word with the space before it.
"""

from __future__ import annotations

import functools
import hashlib
import re

import msgspec

CORPUS_SIZE = 16_381
"""Pieces in the corpus: a prime, so that no period of the generator divides it; 130 KB of references."""

_LIST = """
the of and a to in is you that it he was for on are as with his they I at be this have from or one had by
word but not what all were we when your can said there use an each which she do how their if will up other
about out many then them these so some her would make like him into time has look two more write go see
number no way could people my than first water been call who oil its now find long down day did get come
made may part over new sound take only little work know place year live me back give most very after thing
our just name good sentence man think
"""
_WORDS = tuple(_LIST.split())
_UNUSUAL = (
    "café",
    "naïve",
    "日本語",
    "Ω",
    "🚀",
    '"quoted"',
    "back\\slash",
    "line.\n",
    "Größe",
    "tab\t",
    "Привет",
    "👩‍🚀",
)
_UNUSUAL_EVERY = 11
"""One word in this many is unusual: often enough that a text of 16 tokens mostly has one."""

_LENGTH_MARK = re.compile(r"\[\[tokens=(\d{1,6})\]\]")


@functools.cache
def corpus() -> tuple[str, ...]:
    """Return the fixed sequence of pieces, the same in every process and version."""
    pieces = []
    state = 0x9E3779B9
    for index in range(CORPUS_SIZE):
        state = (state * 1_664_525 + 1_013_904_223) & 0xFFFFFFFF  # Numerical Recipes' generator; high bits only
        words = _UNUSUAL if index % _UNUSUAL_EVERY == _UNUSUAL_EVERY - 1 else _WORDS
        pieces.append(" " + words[(state >> 12) % len(words)])
    return tuple(pieces)


@functools.cache
def escaped(piece: str) -> bytes:
    """Return a piece as it stands between the quotes of a JSON string."""
    return msgspec.json.encode(piece)[1:-1]


def compute_seed(prompt: str, salt: str = "") -> int:
    """Return a 64-bit number that depends on the prompt and the salt alone."""
    return int.from_bytes(
        hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8, key=salt.encode()[:64]).digest()
    )


def compute_pieces(seed: int, count: int, skip: int = 0) -> list[str]:
    """Return ``count`` pieces of the text of ``seed``, beginning with its piece number ``skip``."""
    source = corpus()
    start = (seed + skip) % CORPUS_SIZE
    pieces = list(source[start : start + count])
    while len(pieces) < count:
        pieces.extend(source[: count - len(pieces)])
    if skip == 0 and pieces:
        pieces[0] = pieces[0][1:]
    return pieces


def get_length_mark(prompt: str) -> int | None:
    """Return n where the prompt contains ``[[tokens=n]]``: the length its author wants the answer to have."""
    if "[[tokens=" not in prompt:
        return None
    found = _LENGTH_MARK.search(prompt)
    return int(found[1]) if found else None


def cut_after_mark(prompt: str) -> str:
    """Return what follows the prompt's ``[[tokens=n]]``; nothing where there is none."""
    found = _LENGTH_MARK.search(prompt)
    return prompt[found.end() :] if found else ""


def skip_delivered(pieces: list[str], delivered: str) -> list[str] | None:
    """Return what of the pieces remains after ``delivered``, or None where the text does not begin with it.

    The first remaining piece may be a part of one: a text is continued exactly where it stopped.
    """
    left = len(delivered)
    for index, piece in enumerate(pieces):
        at = len(delivered) - left
        if left < len(piece):
            if piece[:left] != delivered[at:]:
                return None
            return [piece[left:], *pieces[index + 1 :]] if left else pieces[index:]
        if not delivered.startswith(piece, at):
            return None
        left -= len(piece)
    return [] if left == 0 else None
