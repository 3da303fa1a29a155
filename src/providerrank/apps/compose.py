"""From a checked configuration to the values and engines everything else is handed.

The only place that knows both the file's vocabulary (``config``) and the rules' and the gateway's.
Nothing here runs anything: ``serve`` gives it life.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from providerrank.apps.config import (
    Config,
    EndpointTable,
    Loaded,
    ModelTable,
    PriceTable,
    ProbesTable,
    TierTable,
    WeightsTable,
)
from providerrank.apps.config.addresses import parse_address
from providerrank.gateway.ports import Ledger, Store
from providerrank.gateway.ring import ROWS_PER_ENTRY
from providerrank.gateway.settings import BuyerKey, Clocks, GatewaySettings, Limits, Upstream
from providerrank.rules.budget import Budget
from providerrank.rules.catalog import Buyer, Catalog, ModelRules, Tier
from providerrank.rules.cells import ASSUMED_FEATURES, NUSD_PER_USD, Cell, Endpoint, Price
from providerrank.rules.idle_probes import ProbeRules
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import Weights
from providerrank.rules.sight import Looks
from providerrank.rules.verified import Verified, combine_findings
from providerrank.rules.window import Window

logger = logging.getLogger("providerrank.compose")

US_PER_S = 1_000_000
BYTES_PER_MB = 1 << 20
LEDGER_SUFFIX = ".budgets"
"""Of the file beside the store that keeps what keys have used."""


def build_catalog(config: Config) -> Catalog:
    """Build what the router ranks."""
    buyer = config.buyer
    cap = buyer.price_cap
    return Catalog(
        endpoints=tuple(build_endpoint(endpoint) for endpoint in config.endpoints),
        models=tuple(_build_model(config, model) for model in config.models),
        buyer=Buyer(
            price_cap=None if cap is None else Price.from_usd(cap.input, cap.output),
            weights=_build_weights(buyer.weights),
            exploration=buyer.exploration,
            verified_first=buyer.trust == "verified",
        ),
        tiers=tuple(_build_tier(tier) for tier in config.tiers),
    )


def build_endpoint(endpoint: EndpointTable) -> Endpoint:
    """Build one endpoint as the rules see it."""
    features = ASSUMED_FEATURES if endpoint.features is None else frozenset(endpoint.features)
    if endpoint.prefill is not None:
        features |= {"prefill"}
    return Endpoint(endpoint.id, endpoint.model, build_price(endpoint.price), endpoint.context_window, features)


def build_price(price: PriceTable) -> Price:
    """Build a price in the rules' integers."""
    return Price.from_usd(price.input, price.output, price.cached_input)


def build_settings(loaded: Loaded) -> GatewaySettings:
    """Build the data plane's settings, secrets revealed."""
    config = loaded.config
    gateway, timeouts = config.gateway, config.timeouts
    host, port = parse_address(gateway.listen)
    return GatewaySettings(
        host=host,
        port=port,
        keys=get_client_keys(loaded),
        buyer_keys=build_buyer_keys(loaded),
        tier_priorities={tier.name: tier.priority for tier in config.tiers if tier.priority is not None},
        upstreams=tuple(
            Upstream(
                endpoint=build_endpoint(endpoint),
                base_url=endpoint.base_url.rstrip("/"),
                upstream_model=endpoint.model if endpoint.upstream_model is None else endpoint.upstream_model,
                key=loaded.reveal(endpoint.key),
                dialect=endpoint.dialect,
                prefill=endpoint.prefill,
            )
            for endpoint in config.endpoints
        ),
        clocks=Clocks(
            connect_us=_to_us(timeouts.connect),
            first_token_us=None if isinstance(timeouts.first_token, str) else _to_us(timeouts.first_token),
            idle_us=_to_us(timeouts.idle),
            total_us=_to_us(timeouts.total),
            patience_us=_to_us(timeouts.patience),
        ),
        limits=Limits(
            max_body_bytes=round(gateway.max_body_mb * BYTES_PER_MB),
            max_pending=gateway.max_pending,
            drain_us=_to_us(gateway.drain),
        ),
        explain=gateway.explain,
        hedge=config.buyer.hedge,
        probes=build_probes(config.probes),
    )


def build_probes(probes: ProbesTable) -> ProbeRules | None:
    """Build whom to probe, how often and for how much; None: nobody."""
    if not (probes.free or probes.paid):
        return None
    return ProbeRules(
        interval_us=_to_us(probes.interval),
        free=probes.free,
        paid=probes.paid,
        spend_per_day_nusd=round(probes.spend_per_day * NUSD_PER_USD),
        max_tokens=probes.max_tokens,
        only=None if probes.only is None else frozenset(probes.only),
    )


def build_looks(config: Config) -> Looks:
    """Build what keeps the figures that explanations show."""
    return Looks(config.gateway.explain * ROWS_PER_ENTRY, PARAMS)


def build_buyer_keys(loaded: Loaded) -> tuple[BuyerKey, ...]:
    """Build the keys with names, secrets revealed."""
    config = loaded.config
    aliases = {alias: model.id for model in config.models for alias in model.aliases}
    served = {endpoint.model for endpoint in config.endpoints}
    return tuple(
        BuyerKey(
            name=key.name,
            secret=loaded.reveal(key.key) or "",
            models=None
            if key.models is None
            else frozenset(name if name in served else aliases.get(name, name) for name in key.models),
            tiers=key.tiers,
            price_cap=None if key.price_cap is None else Price.from_usd(key.price_cap.input, key.price_cap.output),
            budget=Budget(
                requests_per_minute=key.requests_per_minute,
                tokens_per_minute=key.tokens_per_minute,
                spend_per_day_nusd=None if key.spend_per_day is None else round(key.spend_per_day * NUSD_PER_USD),
            ),
            priority=key.priority,
            expected_output_tokens=key.expected_output,
        )
        for key in config.keys
    )


def build_ledger(loaded: Loaded) -> Ledger:
    """Build what keeps the accounts of keys with names; it opens its file when there is such a key."""
    from providerrank.engines.ledger_lazy import LazyLedger

    return LazyLedger(lambda: open_ledger(loaded))


def open_ledger(loaded: Loaded) -> Ledger:
    """Open where what keys with names use is kept.

    Raises ``engines.errors.LedgerUnavailableError``: without it limits would be forgotten, so nothing is to start.
    """
    from providerrank.engines.errors import LedgerUnavailableError
    from providerrank.engines.ledger_file import LedgerFile

    path = find_store_path(loaded.path, loaded.environ, LEDGER_SUFFIX)
    if path is None:
        beside = str(loaded.path.absolute().with_suffix(LEDGER_SUFFIX))
        raise LedgerUnavailableError(beside, "no folder for it can be written: set XDG_STATE_HOME to one that can")
    return LedgerFile(path)


def has_ledger(loaded: Loaded) -> bool:
    """Whether anything was ever kept of this configuration's keys."""
    path = find_store_path(loaded.path, loaded.environ, LEDGER_SUFFIX)
    return path is not None and path.exists()


def get_client_keys(loaded: Loaded) -> tuple[str, ...]:
    """Return the keys clients may call with."""
    keys = (loaded.reveal(secret) for secret in loaded.config.gateway.keys)
    return tuple(key for key in keys if key)


async def open_windows(loaded: Loaded) -> Store:
    """Open where what was learned is kept.

    A store the file names must open: raises ``engines.errors.StoreError`` if it does not. The default one is a
    convenience: without a folder to write to, what is learned lasts as long as the process.
    """
    from providerrank.engines.errors import StoreUnavailableError
    from providerrank.engines.store_sql import open_sqlite, open_store

    named = loaded.reveal(loaded.config.engines.store)
    if named is not None:
        return await open_store(get_store_url(named, loaded.path))
    path = find_store_path(loaded.path, loaded.environ)
    try:
        if path is not None:
            return await open_sqlite(path)
        logger.warning("no folder for the store can be written: what is learned is forgotten at the end")
    except StoreUnavailableError as error:
        logger.warning("%s What is learned is forgotten at the end.", error)
    from providerrank.engines.store_memory import MemoryStore

    return MemoryStore()


async def read_windows(loaded: Loaded) -> list[tuple[Cell, Window]]:
    """Read what was learned so far; a default store that is not there yet is not made. Raises ``StoreError``."""
    return (await read_learned(loaded))[0]


async def read_learned(loaded: Loaded) -> tuple[list[tuple[Cell, Window]], dict[Cell, Verified]]:
    """Read what was learned, and what the market has verified, as ``read_windows`` does."""
    if loaded.config.engines.store is None:
        path = find_store_path(loaded.path, loaded.environ)
        if path is None or not path.exists():
            return [], {}
    store = await open_windows(loaded)
    try:
        return await store.load(), combine_findings(await store.load_findings())
    finally:
        await store.close()


def get_store_url(url: str, config_path: Path) -> str:
    """Return a store's URL with a relative SQLite path starting at the configuration's folder."""
    scheme, separator, path = url.partition(":///")
    if scheme.partition("+")[0] == "sqlite" and separator and path and not Path(path).is_absolute():
        return f"sqlite:///{config_path.absolute().parent / path}"
    return url


def find_store_path(config_path: Path, environ: Mapping[str, str], suffix: str = ".db") -> Path | None:
    """Return the default store, or another file like it: beside the configuration, else in the user's state folder.

    None: neither can be written.
    A configuration in a read-only folder is common (a container's mounted secret, a package's file).
    """
    beside = config_path.absolute().with_suffix(suffix)
    if _is_writable(beside):
        return beside
    state = environ.get("XDG_STATE_HOME") or (Path(environ["HOME"]) / ".local/state" if "HOME" in environ else None)
    if state is None:
        return None
    # Two configurations of one name in different folders must not share what they learned.
    elsewhere = Path(state) / "providerrank" / ("-".join(beside.parts[1:]))
    try:
        elsewhere.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return elsewhere if _is_writable(elsewhere) else None


def _is_writable(path: Path) -> bool:
    """Whether a database can live at a path: SQLite writes files beside it, so the folder counts too.

    A folder nobody has write permission to is meant to stay as it is, even where root could write to it.
    """
    folder = path.parent
    return (
        os.access(folder, os.W_OK | os.X_OK)
        and bool(folder.stat().st_mode & 0o222)
        and (not path.exists() or os.access(path, os.W_OK))
    )


def _build_model(config: Config, model: ModelTable) -> ModelRules:
    served = {endpoint.model for endpoint in config.endpoints}
    aliases = {alias: other.id for other in config.models for alias in other.aliases}
    return ModelRules(
        id=model.id,
        aliases=model.aliases,
        pin=model.pin,
        pin_only=model.pin_only,
        fallback_models=tuple(name if name in served else aliases.get(name, name) for name in model.fallback_models),
    )


def _build_tier(tier: TierTable) -> Tier:
    return Tier(
        name=tier.name,
        min_reputation=tier.min_reputation,
        weights=None if tier.weights is None else _build_weights(tier.weights),
        price_cap_factor=tier.price_cap_factor,
    )


def _build_weights(weights: WeightsTable) -> Weights:
    return Weights(reputation=weights.reputation, price=weights.price)


def _to_us(seconds: float) -> int:
    return round(seconds * US_PER_S)
