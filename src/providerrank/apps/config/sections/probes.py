"""Requests of our own to endpoints that nobody asks: how often, for how much, and whom."""

from __future__ import annotations

from providerrank.apps.config.mistakes import show
from providerrank.apps.config.sections.checking import MAX_SECONDS, MAX_SPEND_USD, Checking

MAX_PROBE_TOKENS = 1_000
"""Of a probe's answer: some models think a little before they say anything; more than this is no probe."""


def check_probes(it: Checking) -> None:
    """How often, for how much, and whom."""
    probes = it.config.probes
    it.check_number(
        ("probes", "interval"),
        probes.interval,
        "an interval is from 1 second to a day",
        least=1,
        most=MAX_SECONDS,
        unit="seconds",
    )
    it.check_number(
        ("probes", "spend_per_day"),
        probes.spend_per_day,
        "a budget is above 0 and at most a billion",
        above=0,
        most=MAX_SPEND_USD,
        unit="USD",
    )
    it.check_number(
        ("probes", "max_tokens"),
        probes.max_tokens,
        f"it is from 1 to {MAX_PROBE_TOKENS}",
        least=1,
        most=MAX_PROBE_TOKENS,
    )
    it.check_known(("probes", "only"), probes.only or (), it.endpoint_ids, "which is no endpoint")
    if probes.only and not probes.paid:
        prices = {endpoint.id: endpoint.price for endpoint in it.config.endpoints}
        for number, name in enumerate(probes.only):
            price = prices.get(name)
            if price is not None and (price.input or price.output or price.cached_input):
                it.note(
                    ("probes", "only", number),
                    f"is {show(name)}, which costs money and so is not probed: add paid = true, or remove it.",
                )
