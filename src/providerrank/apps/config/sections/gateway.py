"""The gateway's own listeners and sizes, what the buyer pays and prefers, and how long a request may take."""

from __future__ import annotations

import math

from providerrank.apps.config.addresses import is_loopback, parse_address
from providerrank.apps.config.mistakes import show
from providerrank.apps.config.sections.checking import MAX_SECONDS, Checking

MAX_EXPLAIN = 1_000_000
"""Requests that can be explained: about two kilobytes of memory each."""

MAX_WORKERS = 64
"""Past any machine's use: each learns from all the others, which costs a little for every request of theirs."""


def check_gateway(it: Checking) -> None:
    """Addresses, keys and sizes."""
    gateway = it.config.gateway
    addresses: dict[str, tuple[str, int]] = {}
    for key in ("listen", "admin"):
        written: str = getattr(gateway, key)
        try:
            addresses[key] = parse_address(written)
        except ValueError as error:
            it.say(("gateway", key), f'is {show(written)}: {error}, as in "127.0.0.1:8080".')
    if len(addresses) == 2 and _is_same_socket(*addresses.values()):
        it.say(
            ("gateway", "admin"),
            f"is {show(gateway.admin)}, the port gateway.listen already takes: give the admin port another number.",
        )
    if "admin" in addresses and not gateway.keys and not is_loopback(addresses["admin"][0]):
        it.say(
            ("gateway", "admin"),
            f"is {show(gateway.admin)}, which other machines can reach, and there is no key to ask them for: "
            'add keys = ["env:PROVIDERRANK_KEY"], or listen on 127.0.0.1.',
        )
    has_keys = bool(gateway.keys or it.config.keys)
    if "listen" in addresses and not has_keys and not is_loopback(addresses["listen"][0]):
        it.note(
            ("gateway", "listen"),
            "is reachable from other machines, but without gateway.keys only this machine may call: "
            'add keys = ["env:PROVIDERRANK_KEY"].',
        )
    it.check_number(
        ("gateway", "workers"),
        gateway.workers,
        f"it counts processes, 1 to {MAX_WORKERS}",
        least=1,
        most=MAX_WORKERS,
    )
    for index, secret in enumerate(gateway.keys):
        it.check_secret(("gateway", "keys", index), secret)
    it.check_number(("gateway", "max_body_mb"), gateway.max_body_mb, "a size is above 0", above=0, unit="megabytes")
    it.check_number(("gateway", "max_pending"), gateway.max_pending, "it is 1 or more", least=1)
    it.check_number(("gateway", "drain"), gateway.drain, "a time is 0 or more", least=0, unit="seconds")
    it.check_number(
        ("gateway", "explain"),
        gateway.explain,
        f"it counts requests, 0 to {MAX_EXPLAIN:,}",
        least=0,
        most=MAX_EXPLAIN,
    )


def check_buyer(it: Checking) -> None:
    """Cap, weights, exploration and hedging."""
    buyer = it.config.buyer
    if buyer.price_cap is not None:
        for side in ("input", "output"):
            price: float = getattr(buyer.price_cap, side)
            it.check_number(
                ("buyer", "price_cap", side), price, "a cap is above 0", above=0, unit="USD per million tokens"
            )
    it.check_weights(("buyer", "weights"), buyer.weights)
    for key in ("exploration", "hedge"):
        share: float = getattr(buyer, key)
        it.check_number(("buyer", key), share, "a share of requests is from 0 to 1", least=0, most=1)


def check_timeouts(it: Checking) -> None:
    """Every clock is above zero, but for patience, which may be none."""
    timeouts = it.config.timeouts
    for key in ("connect", "first_token", "idle", "total", "patience"):
        seconds: float | str = getattr(timeouts, key)
        if isinstance(seconds, str):
            continue
        path = ("timeouts", key)
        if key == "patience":
            it.check_number(path, seconds, "a wait is 0 or more", least=0, unit="seconds")
        else:
            it.check_number(path, seconds, "a time limit is above 0", above=0, unit="seconds")
        if math.isfinite(seconds) and seconds > MAX_SECONDS:
            it.say(path, f"is {seconds:g}, more than a day: write seconds, not milliseconds.")


def _is_same_socket(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether two listeners would collide. Port 0 asks for any free port, so it never does."""
    wildcards = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound
    hosts = {host.lower().replace("localhost", "127.0.0.1") for host in (one[0], other[0])}
    return one[1] == other[1] != 0 and (len(hosts) == 1 or bool(hosts & wildcards))
