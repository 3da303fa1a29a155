"""Options several commands share, and what they mean."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from providerrank.apps import config

ConfigOption = Annotated[
    Path | None,
    Parameter(
        name=("--config", "-c"),
        help="The configuration file; else the one PROVIDERRANK_CONFIG names, else ./providerrank.toml.",
    ),
]
JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for programs.")]


def load(given: Path | None) -> config.Loaded:
    """Read the configuration a command is about. Raises ``ConfigRefused``."""
    return config.load(config.find_path(given))


def print_json(value: object) -> None:
    """Print anything msgspec encodes, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
