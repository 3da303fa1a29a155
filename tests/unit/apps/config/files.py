"""Files to read, right and wrong: a helper for the tests of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from providerrank.apps import config
from providerrank.apps.config import ConfigRefused, Loaded
from tests.configs import write_endpoint

FILE = Path("providerrank.toml")

MINIMAL = write_endpoint()

FULL = """
[gateway]
listen = "127.0.0.1:8080"
admin  = "127.0.0.1:8081"
workers = 1
keys = ["env:CLIENT_KEY"]
max_body_mb = 8
max_pending = 100
drain = 5

[buyer]
price_cap = { input = 2.0, output = 6.0 }
weights   = { reputation = 0.7, price = 0.3 }
exploration = 0.05

[timeouts]
connect = 1
first_token = 4.5
idle = 10
total = 60.0
patience = 0

[[endpoints]]
id = "fireworks/llama-3.3-70b@eu-west:fp8"
model = "llama-3.3-70b"
base_url = "https://api.example.com/inference/v1"
upstream_model = "accounts/x/models/llama"
key = "env:UPSTREAM_KEY"
price = { input = 0.90, output = 0.90, cached_input = 0.45 }
context_window = 131072
features = ["tools", "json_schema", "prefill"]

[[endpoints]]
id = "local/qwen"
model = "qwen"
base_url = "http://127.0.0.1:9000/v1"
price = { input = 0, output = 0 }

[[models]]
id = "llama-3.3-70b"
aliases = ["default"]
pin = ["fireworks/llama-3.3-70b@eu-west:fp8"]
pin_only = true
fallback_models = ["qwen"]

[[tiers]]
name = "high"
min_reputation = 0.85
weights = { reputation = 0.9, price = 0.1 }
price_cap_factor = 2.0

[[keys]]
name = "team"
key = "env:TEAM_KEY"
models = ["default"]
tiers = ["high"]
price_cap = { input = 1.0, output = 3.0 }
requests_per_minute = 60
tokens_per_minute = 100_000
spend_per_day = 12.5
priority = "high"
expected_output = 2048

[[keys]]
name = "other"
key = "env:OTHER_KEY"

[engines]
store = "sqlite:///state.db"
"""

ENVIRON = {
    "CLIENT_KEY": "client-secret",
    "UPSTREAM_KEY": "upstream-secret",
    "TEAM_KEY": "team-secret",
    "OTHER_KEY": "other-secret",
}

KEY = (
    MINIMAL
    + """[[keys]]
name = "team"
key = "env:TEAM_KEY"
"""
)
"""Ends in line 10; the table's first line is 8."""


def refuse(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigRefused) as refused:
        config.parse(text, FILE, environ if environ is not None else ENVIRON)
    return str(refused.value).splitlines()


def accept(text: str) -> Loaded:
    return config.parse(text, FILE, ENVIRON)
