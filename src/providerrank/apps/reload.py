"""Another configuration for a gateway that runs: what may change, what may not, and what is told of it.

Pure: the file is read, and its outcome applied, by ``serve``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from providerrank.apps.config import Config, format_path

FIXED: Final[tuple[tuple[str, ...], ...]] = (
    ("gateway", "listen"),
    ("gateway", "admin"),
    ("gateway", "workers"),
    ("gateway", "explain"),
    ("gateway", "log"),
    ("gateway", "log_level"),
    ("gateway", "log_requests"),
    ("telemetry",),
    ("registry",),
    ("engines",),
)
"""What a gateway is built around, and so keeps until it is started again."""


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration was taken."""

    endpoints: int
    added: list[str]
    """Endpoint ids."""
    removed: list[str]
    changed: list[str]
    needs_restart: list[str]
    """Keys that differ from what the gateway runs with, and take effect when it is started again."""
    notes: list[str]
    """Allowed, and probably not meant."""


class ReloadRefused(Exception):
    """The configuration in use stays as it was; each reason is a line as ``check`` prints it."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def compute_effective(running: Config, wanted: Config) -> tuple[Config, list[str]]:
    """What is wanted, but for what cannot change while running; and the keys of that, where they differ."""
    effective = wanted
    differing: list[str] = []
    for path in FIXED:
        kept = _get(running, path)
        if _get(wanted, path) != kept:
            differing.append(format_path(path))
            effective = _put(effective, path, kept)
    return effective, differing


def compute_reloaded(running: Config, effective: Config, needs_restart: list[str], notes: list[str]) -> Reloaded:
    """What the change comes to."""
    before = {endpoint.id: endpoint for endpoint in running.endpoints}
    after = {endpoint.id: endpoint for endpoint in effective.endpoints}
    return Reloaded(
        endpoints=len(after),
        added=[name for name in after if name not in before],
        removed=[name for name in before if name not in after],
        changed=[name for name in after if name in before and after[name] != before[name]],
        needs_restart=needs_restart,
        notes=notes,
    )


# ``Any``: tables of the configuration, of whatever type they have there.


def _get(table: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        table = getattr(table, key)
    return table


def _put(table: Any, path: tuple[str, ...], value: Any) -> Any:
    key, *rest = path
    return msgspec.structs.replace(table, **{key: _put(getattr(table, key), tuple(rest), value) if rest else value})
