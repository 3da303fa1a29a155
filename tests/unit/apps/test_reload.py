"""What a reload changes, what it leaves for the next start, and what it tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from providerrank.apps.config import Config, parse
from providerrank.apps.reload import FIXED, compute_effective, compute_reloaded
from tests.configs import write_endpoint


def read(top: str = "", *endpoints: tuple[str, str, int]) -> Config:
    tables = [
        write_endpoint(name, f'key = "env:{key}"', model="m", url=f"https://{name}.example/v1", price=(price, 1))
        for name, key, price in endpoints or [("a", "K", 1)]
    ]
    return parse(top + "".join(tables), Path("p.toml"), {"K": "k", "L": "l"}).config


def test_the_same_file_changes_nothing() -> None:
    running, wanted = read(), read()
    effective, needs_restart = compute_effective(running, wanted)
    reloaded = compute_reloaded(running, effective, needs_restart, [])
    assert effective == running
    assert (reloaded.added, reloaded.removed, reloaded.changed, reloaded.needs_restart) == ([], [], [], [])
    assert reloaded.endpoints == 1


def test_what_is_fixed_stays_and_is_named() -> None:
    running = read('[gateway]\nlisten = "127.0.0.1:1"\nmax_pending = 5\n')
    wanted = read(
        '[gateway]\nlisten = "127.0.0.1:2"\nadmin = "127.0.0.1:3"\nworkers = 4\nexplain = 5\nmax_pending = 6\n'
        'log = "json"\nlog_level = "debug"\nlog_requests = true\n'
        '[telemetry]\notlp = "http://127.0.0.1:4318"\n'
        '[registry]\nurl = "http://127.0.0.1:8090"\n[engines]\nstore = "sqlite:///x.db"\n'
    )
    effective, needs_restart = compute_effective(running, wanted)
    assert needs_restart == [".".join(path) for path in FIXED]
    assert effective.gateway.listen == "127.0.0.1:1"
    assert effective.gateway.workers == 1
    assert effective.engines.store is None
    assert effective.gateway.max_pending == 6


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([("a", "K", 1)], [("a", "K", 2)], ([], [], ["a/m"])),
        ([("a", "K", 1)], [("a", "L", 1)], ([], [], ["a/m"])),
        ([("a", "K", 1)], [("b", "K", 1)], (["b/m"], ["a/m"], [])),
        ([("a", "K", 1), ("b", "K", 1)], [("b", "K", 1), ("a", "K", 1)], ([], [], [])),
    ],
)
def test_endpoints_that_come_go_and_change_are_named(
    before: list[tuple[str, str, int]], after: list[tuple[str, str, int]], expected: tuple[list[str], ...]
) -> None:
    reloaded = compute_reloaded(read("", *before), read("", *after), [], ["a note"])
    assert (reloaded.added, reloaded.removed, reloaded.changed) == expected
    assert reloaded.notes == ["a note"]
