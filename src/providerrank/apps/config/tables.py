"""The whole shape of the file, as structs; their docstrings and defaults are the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

ENV_PREFIX = "env:"


class Secret:
    """What stands in the file where a secret belongs: ``env:NAME``, or the secret itself."""

    __slots__ = ("_written",)

    def __init__(self, written: str) -> None:
        self._written = written

    def __repr__(self) -> str:
        return f"Secret(env:{self.variable})" if self.variable else "Secret(...)"

    def __eq__(self, other: object) -> bool:
        """Whether the same is written, of one configuration file and another."""
        return isinstance(other, Secret) and self._written == other._written

    def __hash__(self) -> int:
        return hash(self._written)

    @property
    def variable(self) -> str | None:
        """The environment variable's name; None when the secret itself is in the file."""
        return self._written[len(ENV_PREFIX) :] if self._written.startswith(ENV_PREFIX) else None

    def reveal(self, environ: Mapping[str, str]) -> str | None:
        """Return the secret; None when its variable is not set."""
        return self._written if self.variable is None else environ.get(self.variable)


class PriceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD per million tokens."""

    input: float
    output: float
    cached_input: float | None = None


class CapTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most this buyer pays, USD per million tokens."""

    input: float
    output: float


class WeightsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of the composite score; they sum to 1."""

    reputation: float
    price: float


class GatewayTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens, who may call, and how much it holds at once."""

    listen: str = "127.0.0.1:8080"
    admin: str = "127.0.0.1:8081"
    workers: int = 1
    keys: tuple[Secret, ...] = ()
    max_body_mb: float = 32.0
    max_pending: int = 4096
    drain: float = 30.0
    explain: int = 10_000
    log: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_requests: bool = False


class BuyerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this buyer pays and prefers."""

    price_cap: CapTable | None = None
    weights: WeightsTable = WeightsTable(reputation=0.6, price=0.4)
    exploration: float = 0.02
    hedge: float = 0.05
    trust: Literal["all", "verified"] = "all"


class TimeoutsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Time limits of one request, in seconds."""

    connect: float = 2.0
    first_token: float | Literal["auto"] = "auto"
    idle: float = 15.0
    total: float = 300.0
    patience: float = 3.0


class EndpointTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider's deployment of one model."""

    id: str
    model: str
    base_url: str
    price: PriceTable
    upstream_model: str | None = None
    key: Secret | None = None
    context_window: int | None = None
    features: tuple[str, ...] | None = None
    dialect: str | None = None
    prefill: str | None = None


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for one model's requests."""

    id: str
    aliases: tuple[str, ...] = ()
    pin: tuple[str, ...] = ()
    pin_only: bool = False
    fallback_models: tuple[str, ...] = ()


class TierTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quality tier a request can ask for by name."""

    name: str
    min_reputation: float | None = None
    weights: WeightsTable | None = None
    price_cap_factor: float = 1.0
    priority: Literal["high", "normal", "best-effort"] | None = None


class KeyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key with a name, and what whoever has it may use."""

    name: str
    key: Secret
    models: tuple[str, ...] | None = None
    tiers: tuple[str, ...] = ()
    price_cap: CapTable | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    spend_per_day: float | None = None
    priority: Literal["high", "normal", "best-effort"] = "normal"
    expected_output: int = 4096


class ProbesTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tiny requests of our own to endpoints that nobody asks."""

    interval: float = 60.0
    free: bool = True
    paid: bool = False
    spend_per_day: float = 0.10
    max_tokens: int = 1
    only: tuple[str, ...] | None = None


class RegistryTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registry shared with other gateways."""

    url: str | None = None


class EnginesTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What keeps and what moves data. Both may carry a password, so both are secrets."""

    store: Secret | None = None
    bus: Secret | None = None


class TelemetryTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Traces and metrics sent to an OpenTelemetry collector; none without ``otlp``."""

    otlp: str | None = None
    traces: bool = True
    metrics: bool = True
    sample: float = 1.0
    service: str = "providerrank"
    headers: dict[str, Secret] = {}


class ChainTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The chain that neurons meet on."""

    file: str = "chain.db"


class MarketTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is measured: the same for all neurons of a subnet."""

    tasks: tuple[str, ...] = ("chat", "code", "json", "tools", "long-context")
    long_context_characters: int = 72_000


class MinerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This machine's miner."""

    key: Secret | None = None
    listen: str = "127.0.0.1:9100"
    announce: str | None = None
    metrics: str | None = "127.0.0.1:9101"
    spend_per_day: float = 1.0
    spend_per_epoch: float | None = None
    probes: int = 2_000
    concurrency: int = 8
    journal: str = "miner.journal"


class ValidatorTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This machine's validator."""

    key: Secret | None = None
    metrics: str | None = "127.0.0.1:9201"
    spend_per_day: float = 5.0
    cells: int = 1_000
    references: int = 4
    concurrency: int = 4
    journal: str = "validator.journal"
    private_addresses: bool = True


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    gateway: GatewayTable = GatewayTable()
    buyer: BuyerTable = BuyerTable()
    timeouts: TimeoutsTable = TimeoutsTable()
    endpoints: tuple[EndpointTable, ...] = ()
    models: tuple[ModelTable, ...] = ()
    tiers: tuple[TierTable, ...] = ()
    keys: tuple[KeyTable, ...] = ()
    probes: ProbesTable = ProbesTable()
    registry: RegistryTable = RegistryTable()
    engines: EnginesTable = EnginesTable()
    telemetry: TelemetryTable = TelemetryTable()
    chain: ChainTable = ChainTable()
    market: MarketTable = MarketTable()
    miner: MinerTable = MinerTable()
    validator: ValidatorTable = ValidatorTable()


def convert(raw: object) -> Config:
    """Turn parsed TOML into structs; raises ``msgspec.ValidationError`` at the first thing that does not fit."""
    return msgspec.convert(raw, Config, dec_hook=_decode_secret)


def _decode_secret(kind: type, value: object) -> Secret:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    msg = "a secret is written as text"
    raise TypeError(msg)
