"""From a configuration to what a neuron is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from providerrank.apps import compose
from providerrank.apps.config import EndpointTable, Loaded, Secret
from providerrank.apps.failures import CommandFailed
from providerrank.engines.prober_http import Target
from providerrank.market.asking import Market
from providerrank.market.miner import MinerSettings
from providerrank.market.validator import ValidatorSettings
from providerrank.rules.cells import JSON, LONG_CONTEXT, NUSD_PER_USD, TOOLS, Cell
from providerrank.rules.params import PARAMS, ChallengeParams
from providerrank.wire.signature import SEED_BYTES, Hotkey

NEEDED = {JSON: "json_schema", TOOLS: "tools"}
"""Features without which a task cannot be asked of an endpoint."""
CHARACTERS_PER_TOKEN = 4.5
"""Of the long-context challenge's text, at least."""


def get_key(loaded: Loaded, secret: Secret | None, table: str) -> Hotkey:
    """The neuron's hotkey. Raises ``CommandFailed``, which never shows it."""
    if secret is None:
        raise CommandFailed(
            f'[{table}] key is missing: write key = "env:NAME", with the variable that holds the hotkey\'s seed; '
            f"`providerrank {table} address --new` makes one."
        )
    name = secret.variable
    place = f"the environment variable {name}" if name else f"[{table}] key"
    try:
        return Hotkey(bytes.fromhex(loaded.reveal(secret) or ""))
    except ValueError:
        raise CommandFailed(f"{place} holds no seed: it is {2 * SEED_BYTES} hex digits.") from None


def get_path(loaded: Loaded, name: str) -> Path:
    """A file the configuration names; a relative one starts at its folder."""
    return loaded.path.absolute().parent / name


def build_targets(loaded: Loaded) -> dict[str, Target]:
    """Where each endpoint is, with its key."""
    return {
        endpoint.id: Target(
            endpoint.base_url.rstrip("/"),
            endpoint.model if endpoint.upstream_model is None else endpoint.upstream_model,
            loaded.reveal(endpoint.key),
        )
        for endpoint in loaded.config.endpoints
    }


def build_market(loaded: Loaded, requests: Mapping[Cell, float]) -> Market:
    """What is measured, and the demand for it: every cell's share of this gateway's own requests, and one more.

    Endpoints that do not speak OpenAI's chat API are left out, and tasks an endpoint says it cannot do.
    """
    endpoints = {}
    demand: dict[Cell, float] = {}
    for table in loaded.config.endpoints:
        if table.dialect not in (None, "chat"):
            continue
        endpoint = compose.build_endpoint(table)
        endpoints[endpoint.id] = endpoint
        for task in loaded.config.market.tasks:
            if is_possible(table, task, loaded.config.market.long_context_characters):
                cell = Cell(endpoint.id, task)
                demand[cell] = 1.0 + requests.get(cell, 0.0)
    if not demand:
        raise CommandFailed("nothing can be measured: no endpoint speaks OpenAI's chat API and does one of the tasks.")
    return Market(endpoints, demand)


def is_possible(table: EndpointTable, task: str, characters: int) -> bool:
    """Whether an endpoint can be asked a task."""
    endpoint = compose.build_endpoint(table)
    if task in NEEDED and NEEDED[task] not in endpoint.features:
        return False
    window = endpoint.context_window
    return task != LONG_CONTEXT or window is None or characters / CHARACTERS_PER_TOKEN < window


def build_challenge(loaded: Loaded) -> ChallengeParams:
    """What challenges may cost: part of what all neurons of a subnet must agree on."""
    return replace(PARAMS.challenge, long_context_characters=loaded.config.market.long_context_characters)


def build_miner_settings(loaded: Loaded, *, dry_run: bool) -> MinerSettings:
    """The miner's settings."""
    table = loaded.config.miner
    return MinerSettings(
        spend_per_day_nusd=round(table.spend_per_day * NUSD_PER_USD),
        spend_per_epoch_nusd=None if table.spend_per_epoch is None else round(table.spend_per_epoch * NUSD_PER_USD),
        most_probes=table.probes,
        concurrency=table.concurrency,
        dry_run=dry_run,
        challenge=build_challenge(loaded),
    )


def build_validator_settings(loaded: Loaded, *, dry_run: bool) -> ValidatorSettings:
    """The validator's settings."""
    table = loaded.config.validator
    return ValidatorSettings(
        spend_per_day_nusd=round(table.spend_per_day * NUSD_PER_USD),
        references=table.references,
        most_cells=table.cells,
        dry_run=dry_run,
        challenge=build_challenge(loaded),
    )
