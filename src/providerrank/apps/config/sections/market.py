"""The neurons of the market, and the chain they meet on."""

from __future__ import annotations

from providerrank.apps.config.addresses import parse_address
from providerrank.apps.config.mistakes import show
from providerrank.apps.config.sections.checking import MAX_SPEND_USD, Checking
from providerrank.rules.cells import TASKS

MAX_PROBES = 100_000
"""Of one epoch: what a bundle holds."""
MAX_CONCURRENCY = 256


def check_market(it: Checking) -> None:
    """Files, addresses, limits and sizes of the neurons; their keys are looked at when one is run."""
    config = it.config
    miner, validator, market = config.miner, config.validator, config.market
    for path, written in (
        (("miner", "listen"), miner.listen),
        (("miner", "announce"), miner.announce),
        (("miner", "metrics"), miner.metrics),
        (("validator", "metrics"), validator.metrics),
    ):
        if written is None:
            continue
        try:
            parse_address(written)
        except ValueError as error:
            it.say(path, f'is {show(written)}: {error}, as in "127.0.0.1:9100".')
    for path, name in (
        (("chain", "file"), config.chain.file),
        (("miner", "journal"), miner.journal),
        (("validator", "journal"), validator.journal),
    ):
        if not name:
            it.say(path, "is empty: name a file.")
    for path, usd in (
        (("miner", "spend_per_day"), miner.spend_per_day),
        (("miner", "spend_per_epoch"), miner.spend_per_epoch),
        (("validator", "spend_per_day"), validator.spend_per_day),
    ):
        if usd is not None:
            it.check_number(path, usd, "a limit is 0 or more", least=0, most=MAX_SPEND_USD, unit="USD")
    for path, count, least, most in (
        (("miner", "probes"), miner.probes, 1, MAX_PROBES),
        (("miner", "concurrency"), miner.concurrency, 1, MAX_CONCURRENCY),
        (("validator", "cells"), validator.cells, 1, MAX_PROBES),
        (("validator", "references"), validator.references, 2, 100),
        (("validator", "concurrency"), validator.concurrency, 1, MAX_CONCURRENCY),
        (("market", "long_context_characters"), market.long_context_characters, 1_000, 1_000_000),
    ):
        if not least <= count <= most:
            it.say(path, f"is {count}: write a number from {least} to {most}.")
    if not market.tasks:
        it.say(("market", "tasks"), "is empty: name at least one task.")
    for at, task in enumerate(market.tasks):
        if task not in TASKS or task in market.tasks[:at]:
            it.say(("market", "tasks", at), f"is {show(task)}: name each of {', '.join(TASKS)} at most once.")
