"""From a file to a configuration without mistakes, or to all of its mistakes (see the package)."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from providerrank.apps.config.mistakes import ConfigRefused, Mistake
from providerrank.apps.config.tables import Config, Secret, convert

DEFAULT_NAME = "providerrank.toml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration without mistakes, where it came from, and the environment its secrets live in."""

    config: Config
    path: Path
    environ: Mapping[str, str]
    notes: tuple[Mistake, ...] = ()
    """Allowed, and probably not meant; for ``check`` and the log."""
    text: str = ""
    """As it was read, for processes that are to work from the same."""

    def __repr__(self) -> str:
        """Leave the environment out: it holds the secrets."""
        return f"Loaded({str(self.path)!r})"

    def reveal(self, secret: Secret | None) -> str | None:
        """Return what a checked secret of this configuration stands for."""
        return None if secret is None else secret.reveal(self.environ)


def find_path(given: str | Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file to read: what was given, else ``PROVIDERRANK_CONFIG``, else the one in this folder."""
    return Path(given or environ.get("PROVIDERRANK_CONFIG") or DEFAULT_NAME)


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read and check a configuration file.

    Raises ``ConfigRefused`` with every mistake found: in the TOML, the shape, the rules and the secrets.
    """
    return parse(_read(path), path, environ)


def parse(text: str, path: Path, environ: Mapping[str, str]) -> Loaded:
    """Check a configuration given as text; ``path`` only names it. Raises as ``load`` does."""
    from providerrank.apps.config import rules

    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        from providerrank.apps.config import mending

        raise ConfigRefused(path, (mending.explain_syntax(str(error), text),)) from None
    try:
        config = convert(raw)
    except msgspec.ValidationError:
        from providerrank.apps.config import mending

        config, mistakes = mending.salvage(raw)
    else:
        mistakes = ()
    found, notes = rules.check(config, environ, damaged=[mistake.path for mistake in mistakes])
    if mistakes or found:
        raise ConfigRefused(path, _located((*mistakes, *found), text))
    return Loaded(config, path, environ, _located(notes, text) if notes else (), text)


def _located(mistakes: tuple[Mistake, ...], text: str) -> tuple[Mistake, ...]:
    from providerrank.apps.config.lines import Lines

    lines = Lines(text)
    placed = [Mistake(mistake.path, mistake.sentence, lines.find(mistake.path)) for mistake in mistakes]
    return tuple(sorted(placed, key=lambda mistake: mistake.line or 0))


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        sentence = "there is no such file: write one with `providerrank init`, or name another with -c."
    except IsADirectoryError:
        sentence = f"that is a folder: name the file in it, as in -c {path / DEFAULT_NAME}."
    except OSError as error:
        sentence = f"the file cannot be read ({error.strerror}): make it readable to this user."
    else:
        try:
            # TOML is UTF-8; a byte order mark is what some editors put before it.
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigRefused(path, (Mistake((), "the file is not UTF-8 text: save it as UTF-8.", line),)) from None
    raise ConfigRefused(path, (Mistake((), sentence),))
