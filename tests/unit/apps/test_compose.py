"""From a configuration to the values the rules and the gateway take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from providerrank.apps import compose, config
from providerrank.apps.config import Loaded
from providerrank.engines.errors import LedgerUnavailableError
from providerrank.gateway.settings import BuyerKey
from providerrank.rules.budget import Budget
from providerrank.rules.cells import ASSUMED_FEATURES, Price
from providerrank.rules.idle_probes import ProbeRules
from providerrank.rules.ranking import Weights

TEXT = """
[gateway]
listen = "[::1]:9000"
keys = ["env:CLIENT"]
max_body_mb = 0.5
drain = 1.5

[buyer]
price_cap = { input = 2.0, output = 6.0 }
weights = { reputation = 0.5, price = 0.5 }
exploration = 0.1
hedge = 0.02

[timeouts]
first_token = 0.25

[[endpoints]]
id = "alpha/llama"
model = "llama"
base_url = "https://api.example.com/v1/"
key = "env:UPSTREAM"
price = { input = 0.9, output = 1.2, cached_input = 0.45 }
features = ["tools"]
context_window = 8192

[[endpoints]]
id = "beta/qwen"
model = "qwen"
upstream_model = "qwen-2.5-72b"
base_url = "http://127.0.0.1:9001/v1"
price = { input = 0, output = 0 }

[[models]]
id = "llama"
aliases = ["default"]
pin = ["alpha/llama"]
fallback_models = ["big"]

[[models]]
id = "qwen"
aliases = ["big"]

[[tiers]]
name = "high"
min_reputation = 0.85
weights = { reputation = 0.9, price = 0.1 }
price_cap_factor = 2.0
"""


def load() -> Loaded:
    return config.parse(TEXT, Path("/etc/x/providerrank.toml"), {"CLIENT": "client-key", "UPSTREAM": "upstream-key"})


def test_the_catalog_has_what_the_file_says() -> None:
    catalog = compose.build_catalog(load().config)
    alpha, beta = catalog.endpoints

    assert alpha.price == Price(900_000_000, 1_200_000_000, 450_000_000)
    assert alpha.features == {"tools"}
    assert alpha.context_window == 8192
    assert beta.features == ASSUMED_FEATURES
    assert catalog.buyer.price_cap == Price(2_000_000_000, 6_000_000_000)
    assert catalog.buyer.weights == Weights(0.5, 0.5)
    assert catalog.buyer.exploration == 0.1
    assert catalog.tiers[0].weights == Weights(0.9, 0.1)
    assert catalog.tiers[0].price_cap_factor == 2.0


def test_a_fallback_model_named_by_its_alias_is_that_model() -> None:
    assert compose.build_catalog(load().config).models[0].fallback_models == ("qwen",)


def test_the_settings_have_units_and_secrets_resolved() -> None:
    settings = compose.build_settings(load())
    alpha, beta = settings.upstreams

    assert (settings.host, settings.port) == ("::1", 9000)
    assert settings.keys == ("client-key",)
    assert settings.limits.max_body_bytes == 512 * 1024
    assert settings.limits.drain_us == 1_500_000
    assert settings.clocks.first_token_us == 250_000
    assert settings.clocks.total_us == 300_000_000
    assert settings.hedge == 0.02
    assert settings.probes == ProbeRules()
    assert (alpha.base_url, alpha.upstream_model, alpha.key) == ("https://api.example.com/v1", "llama", "upstream-key")
    assert (beta.upstream_model, beta.key) == ("qwen-2.5-72b", None)
    assert "upstream-key" not in repr(settings)
    assert "client-key" not in repr(settings)


def test_auto_leaves_the_first_token_clock_to_the_gateway() -> None:
    loaded = config.parse(TEXT.replace("first_token = 0.25", ""), Path("x"), {"CLIENT": "c", "UPSTREAM": "u"})

    assert compose.build_settings(loaded).clocks.first_token_us is None


def test_a_relative_store_starts_at_the_configurations_folder() -> None:
    path = Path("/etc/x/providerrank.toml")

    assert compose.get_store_url("sqlite:///state.db", path) == "sqlite:////etc/x/state.db"
    assert compose.get_store_url("sqlite:////var/state.db", path) == "sqlite:////var/state.db"
    assert compose.get_store_url("postgresql://me@db/x", path) == "postgresql://me@db/x"


def test_the_default_store_lies_beside_the_configuration(tmp_path: Path) -> None:
    assert compose.find_store_path(tmp_path / "mine.toml", {}) == tmp_path / "mine.db"


def test_beside_a_read_only_configuration_the_store_goes_to_the_users_state(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o555)
    state = tmp_path / "state"

    found = compose.find_store_path(folder / "mine.toml", {"XDG_STATE_HOME": str(state)})

    assert found is not None
    assert found.parent == state / "providerrank"
    assert found.name.endswith("-etc-mine.db")
    assert compose.find_store_path(folder / "mine.toml", {"HOME": str(tmp_path)}) == (
        tmp_path / ".local/state/providerrank" / found.name
    )


def test_without_any_folder_to_write_there_is_no_store(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o555)

    assert compose.find_store_path(folder / "mine.toml", {}) is None
    assert compose.find_store_path(folder / "mine.toml", {"XDG_STATE_HOME": "/dev/null/x"}) is None


async def test_nothing_learned_yet_reads_as_nothing_and_makes_no_file(tmp_path: Path) -> None:
    loaded = config.parse(TEXT, tmp_path / "mine.toml", {"CLIENT": "c", "UPSTREAM": "u"})

    assert await compose.read_windows(loaded) == []
    assert os.listdir(tmp_path) == []


async def test_without_a_store_what_is_learned_lasts_as_long_as_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o555)
    loaded = config.parse(TEXT, folder / "mine.toml", {"CLIENT": "c", "UPSTREAM": "u"})

    store = await compose.open_windows(loaded)

    assert await store.load() == []
    await store.close()
    assert await compose.read_windows(loaded) == []


KEYS = """
[[keys]]
name = "team"
key = "env:CLIENT_TEAM"
models = ["default", "qwen"]
tiers = ["high"]
price_cap = { input = 1.0, output = 3.0 }
requests_per_minute = 60
tokens_per_minute = 100000
spend_per_day = 12.5
priority = "high"
expected_output = 2048

[[keys]]
name = "other"
key = "env:CLIENT_OTHER"
"""


def load_keys(path: Path) -> Loaded:
    environ = {"CLIENT": "c", "UPSTREAM": "u", "CLIENT_TEAM": "team-key", "CLIENT_OTHER": "other-key"}
    return config.parse(TEXT + KEYS, path, environ)


def test_keys_with_names() -> None:
    settings = compose.build_settings(load_keys(Path("x")))

    assert settings.buyer_keys == (
        BuyerKey(
            "team",
            "team-key",
            models=frozenset({"llama", "qwen"}),
            tiers=("high",),
            price_cap=Price(1_000_000_000, 3_000_000_000),
            budget=Budget(60, 100_000, 12_500_000_000),
            priority="high",
            expected_output_tokens=2048,
        ),
        BuyerKey("other", "other-key"),
    )
    assert "team-key" not in repr(settings)


def test_a_ledger_lies_beside_the_store_where_there_are_keys_with_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    loaded = load_keys(path)
    ledger = compose.build_ledger(loaded)
    ledger.close()
    assert not compose.has_ledger(loaded), "nobody has asked for an account"
    ledger.open("team")
    ledger.close()
    assert (tmp_path / "mine.budgets").exists()
    assert compose.has_ledger(loaded)


def test_without_a_folder_for_the_ledger_nothing_starts(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o555)
    with pytest.raises(LedgerUnavailableError, match="no folder for it can be written: set XDG_STATE_HOME"):
        compose.open_ledger(load_keys(folder / "mine.toml"))


def test_whom_to_probe() -> None:
    rules = compose.build_probes(config.ProbesTable(interval=2.5, paid=True, spend_per_day=0.07, only=("a/m",)))
    assert rules == ProbeRules(2_500_000, True, True, 70_000_000, 1, frozenset({"a/m"}))
    assert compose.build_probes(config.ProbesTable(free=False)) is None
    assert compose.build_probes(config.ProbesTable()) == ProbeRules()


def test_who_is_told_how_to_go_on_can() -> None:
    table = config.EndpointTable("a/m", "m", "http://x/v1", config.PriceTable(0, 0), prefill="vllm")
    assert compose.build_endpoint(table).features == ASSUMED_FEATURES | {"prefill"}
