"""Writes a first configuration: commented, checked, and never over one that is there.

Only what was given is written; every other key stands beside it as a comment with its default, so
that the file is also where its reader learns what there is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from providerrank.apps import config
from providerrank.apps.config import ConfigRefused
from providerrank.apps.failures import CommandFailed


class FileIsThere(CommandFailed):
    """A configuration is there, and nobody said to replace it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is there already: keep it, name another with -c, or replace it with --force.")
        self.path = path


@dataclass(frozen=True, slots=True)
class Answers:
    """One endpoint, as asked for."""

    provider: str
    model: str
    base_url: str
    input_price: float
    output_price: float
    upstream_model: str | None = None
    key_variable: str | None = None
    """Name of the environment variable that holds the provider's key."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An endpoint of which some answers may still be open."""

    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    input_price: float | None = None
    output_price: float | None = None
    upstream_model: str | None = None
    key_variable: str | None = None

    def get_missing(self) -> list[str]:
        """Name the answers without which there is no endpoint."""
        required = ("provider", "model", "base_url", "input_price", "output_price")
        return [name for name in required if getattr(self, name) is None]

    def complete(self) -> Answers | None:
        """Return the endpoint; None while an answer it needs is open."""
        if self.provider is None or self.model is None or self.base_url is None:
            return None
        if self.input_price is None or self.output_price is None:
            return None
        return Answers(
            self.provider,
            self.model,
            self.base_url,
            self.input_price,
            self.output_price,
            self.upstream_model,
            self.key_variable,
        )


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the gateway is to listen, and the variable that holds the key its clients use."""

    listen: str = config.GatewayTable().listen
    admin: str = config.GatewayTable().admin
    client_key_variable: str | None = None


def build_text(endpoints: tuple[Answers, ...], addresses: Addresses) -> str:
    """Write the file's text. Raises ``CommandFailed`` with every answer that cannot stand in a configuration."""
    text = "\n".join([_HEAD, _write_gateway(addresses), _BUYER, *map(_write_endpoint, endpoints), _TAIL]).replace(
        "\n\n\n", "\n\n"
    )
    environ = {name: "set-later" for one in endpoints if (name := one.key_variable)}
    if addresses.client_key_variable:
        environ[addresses.client_key_variable] = "set-later"
    try:
        config.parse(text, Path(config.DEFAULT_NAME), environ)
    except ConfigRefused as refused:
        wrong = "\n".join(f"  {config.format_path(one.path)} {one.sentence}" for one in refused.mistakes)
        raise CommandFailed(f"nothing was written, since the configuration would be refused:\n{wrong}") from None
    return text


def write(path: Path, text: str, *, force: bool) -> None:
    """Put the whole file in place at once. Raises ``CommandFailed`` if one is there, unless ``force``."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
        try:
            if force:
                draft.replace(path)
            else:
                # Unlike a check beforehand, this cannot overwrite a file made in the meantime.
                path.hardlink_to(draft)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        raise FileIsThere(path) from None
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written ({error.strerror}): name another place with -c.") from None


def _write_gateway(addresses: Addresses) -> str:
    keys = f'keys = ["env:{addresses.client_key_variable}"]' if addresses.client_key_variable else _NO_KEYS
    return f"""
[gateway]
listen = {_quote(addresses.listen)}          # clients: OpenAI's API
admin = {_quote(addresses.admin)}           # page, /metrics, /health
{keys}
# max_body_mb = 32                    # a larger request is answered 413
# workers = 1                         # processes that serve, as many as there are cores to spend
# max_pending = 4096                  # requests under way at once; past it 503
# drain = 30                          # seconds for requests under way when asked to stop
# log = "text"                        # "json": one object a line
# log_level = "info"                  # "debug", "warning", "error"
# log_requests = false                # a line for each request
# explain = 10000                     # latest requests that `providerrank explain` can tell of; 0: none
"""


def _write_endpoint(endpoint: Answers) -> str:
    model = endpoint.model.replace("@", "-").replace(" ", "-")
    upstream = f"upstream_model = {_quote(endpoint.upstream_model)}" if endpoint.upstream_model else _NO_UPSTREAM
    key = f'key = "env:{endpoint.key_variable}"' if endpoint.key_variable else _NO_KEY
    return f"""
[[endpoints]]
id = {_quote(f"{endpoint.provider}/{model}")}    # provider/model[@region][:quantization]
model = {_quote(endpoint.model)}            # the name clients ask for
base_url = {_quote(endpoint.base_url)}
{upstream}
{key}
price = {{ input = {endpoint.input_price}, output = {endpoint.output_price} }}    # USD per million tokens
# context_window = 131072             # tokens; not given: never left out for it
# features = ["tools", "json_schema"] # not given: everything but prefill, responses and messages is assumed
# dialect = "openai"                  # the API it speaks; "anthropic" for one that has no /chat/completions
# prefill = "vllm"                    # how it is told to go on from a beginning; only where it wants vLLM's own words
"""


def _quote(text: str) -> str:
    """Write a TOML string: JSON's are a subset of its basic ones, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


_HEAD = """# ProviderRank's configuration. What is commented out is the default.
# `providerrank check` checks it, `providerrank doctor` reaches its endpoints, `providerrank serve` runs it."""

_NO_KEYS = '# keys = ["env:PROVIDERRANK_KEY"]     # bearer keys of clients; none: only this machine may call'
_NO_UPSTREAM = '# upstream_model = "…"                # the provider\'s own name for it, where it differs'
_NO_KEY = '# key = "env:PROVIDER_API_KEY"        # the environment variable with the provider\'s key'

_BUYER = """
[buyer]
# price_cap = { input = 2.0, output = 6.0 }        # USD per million tokens; dearer endpoints are not used
# weights = { reputation = 0.6, price = 0.4 }
# exploration = 0.02                               # share of requests that try what is less known
# trust = "all"                                    # or "verified": what the market has not verified comes last
# hedge = 0.05                                     # share of requests that may ask a second endpoint while one is slow

[timeouts]                                         # seconds
# connect = 2.0
# first_token = "auto"                             # follows what each endpoint usually takes
# idle = 15.0
# total = 300.0
# patience = 3.0                                   # longest wait for a rate-limited endpoint

# One table for each endpoint. Those with the same model are ranked against each other.
"""

_TAIL = """
# [[models]]                          # only for models that need more than endpoints
# id = "…"
# aliases = ["default"]
# pin = []                            # endpoint ids tried first, in this order
# pin_only = false
# fallback_models = []

# [[tiers]]                           # asked for with the header x-providerrank-tier
# name = "high"
# min_reputation = 0.85
# weights = { reputation = 0.9, price = 0.1 }
# price_cap_factor = 2.0

# [[keys]]                            # a key of its own for a team or an application, with limits
# name = "team"
# key = "env:TEAM_KEY"
# models = ["MODEL"]                  # left out: all of them
# tiers = ["high"]                    # left out: all of them
# price_cap = { input = 1.0, output = 3.0 }
# requests_per_minute = 60
# tokens_per_minute = 100000
# spend_per_day = 25.0                # USD; the day is UTC's
# priority = "normal"
# expected_output = 4096              # tokens set aside for an answer whose request has no max_tokens
"""
