"""Tells the service manager how the gateway is doing (systemd's sd_notify protocol); nothing where there is none.

A datagram to the socket that ``NOTIFY_SOCKET`` names: a path, or a name in Linux' abstract space after ``@``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


def get_reloading() -> str:
    """That a reload has begun; followed by ``READY``. The moment tells one reload from another."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell it; whether there is anybody to tell. A service manager that does not listen is no reason to stop."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as plug:
            plug.setblocking(False)
            plug.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        return False
    return True


def get_watchdog_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """How often to say that the event loop turns: half of what the manager waits; None: it does not want to know."""
    written = environ.get("WATCHDOG_USEC", "")
    if not written.isdigit() or not int(written) or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(written) / 2e6


async def keep_telling(environ: Mapping[str, str] = os.environ) -> None:
    """Say so until cancelled."""
    every_s = get_watchdog_s(environ)
    while every_s is not None:
        notify(ALIVE, environ)
        await asyncio.sleep(every_s)
