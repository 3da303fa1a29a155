"""What the service manager is told."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from providerrank.apps.notify import ALIVE, READY, get_reloading, get_watchdog_s, keep_telling, notify


def listen(address: str) -> socket.socket:
    plug = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    plug.bind(address)
    plug.settimeout(5)
    return plug


def test_a_manager_hears_at_a_path_and_in_the_abstract_space(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    name = f"providerrank-test-{os.getpid()}"
    for address, written in ((path, path), (f"\0{name}", f"@{name}")):
        with listen(address) as plug:
            assert notify(READY, {"NOTIFY_SOCKET": written})
            assert plug.recv(100) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "vsock:2:3"}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_nobody_to_tell_is_no_failure(environ: dict[str, str]) -> None:
    assert not notify(READY, environ)


def test_a_reload_says_when_it_began() -> None:
    state, _, moment = get_reloading().partition("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert int(moment) > 0


@pytest.mark.parametrize(
    ("environ", "every_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_how_often_the_watchdog_wants_to_know(environ: dict[str, str], every_s: float | None) -> None:
    assert get_watchdog_s(environ) == every_s


async def test_the_watchdog_is_told_until_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listen(path) as plug:
        telling = asyncio.create_task(keep_telling({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000"}))
        for _ in range(3):
            assert (await asyncio.to_thread(plug.recv, 100)).decode() == ALIVE
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
    await keep_telling({})
