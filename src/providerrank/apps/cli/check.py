"""`providerrank check`."""

from __future__ import annotations

import sys

import msgspec

from providerrank.apps import config as configuration
from providerrank.apps.cli.options import ConfigOption, JsonOption, print_json
from providerrank.apps.config import ConfigRefused, Loaded, Mistake
from providerrank.apps.failures import DONE, FAILED


class Finding(msgspec.Struct, frozen=True):
    """One mistake or note, for programs."""

    line: int | None
    place: str
    message: str


class Report(msgspec.Struct, frozen=True):
    """What `check --json` prints."""

    ok: bool
    file: str
    mistakes: list[Finding] = []
    notes: list[Finding] = []


def check(*, config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Read the configuration and report every mistake at once, each with its line and remedy.

    Nothing is started and nobody is asked; `providerrank doctor` goes on to reach the endpoints. Exits 1 if
    there is a mistake. Notes are advice and change nothing.

    For example:

        $ providerrank check -c providerrank.toml
    """
    path = configuration.find_path(config)
    try:
        loaded = configuration.load(path)
    except ConfigRefused as refused:
        if not as_json:
            raise
        print_json(Report(ok=False, file=str(path), mistakes=_get_findings(refused.mistakes)))
        return FAILED
    if as_json:
        print_json(Report(ok=True, file=str(path), notes=_get_findings(loaded.notes)))
        return DONE
    for note in loaded.notes:
        print(f"note: {configuration.format_mistake(path, note)}", file=sys.stderr)
    print(f"{path}: no mistakes ({describe(loaded)}).")
    return DONE


def describe(loaded: Loaded) -> str:
    """Count what the configuration has."""
    endpoints = loaded.config.endpoints
    models = len({endpoint.model for endpoint in endpoints})
    return f"{_count(len(endpoints), 'endpoint')} of {_count(models, 'model')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _get_findings(mistakes: tuple[Mistake, ...]) -> list[Finding]:
    return [Finding(one.line, configuration.format_path(one.path), one.sentence) for one in mistakes]
