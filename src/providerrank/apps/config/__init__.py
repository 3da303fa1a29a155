"""The configuration file: its schema, and how it is read.

The file is TOML; its whole shape is the structs in ``tables``, and what they cannot say (an id named twice, a pin to
nowhere) is in ``rules``, section by section. Reading either gives a ``Loaded`` that needs no further checking, or
raises ``ConfigRefused`` with *every* mistake in the file, not the first.

A file without mistakes takes a short way: parse, convert, check the rules. What explains mistakes (``mending``,
``lines``) is imported only when there is one, since a gateway keeps what it imports for as long as it runs.

Secrets: ``env:NAME`` in the places that hold one stands for an environment variable. A ``Secret`` never shows what it
stands for; only ``Secret.reveal`` gives it out.

This is the package's door: the names below are what the rest of the program asks it for. Inside, modules import
one another, and never the door.
"""

from providerrank.apps.config.mistakes import ConfigRefused, KeyPath, Mistake, format_mistake, format_path, show
from providerrank.apps.config.reading import DEFAULT_NAME, Loaded, find_path, load, parse
from providerrank.apps.config.tables import (
    BuyerTable,
    CapTable,
    ChainTable,
    Config,
    EndpointTable,
    EnginesTable,
    GatewayTable,
    KeyTable,
    MarketTable,
    MinerTable,
    ModelTable,
    PriceTable,
    ProbesTable,
    RegistryTable,
    Secret,
    TelemetryTable,
    TierTable,
    TimeoutsTable,
    ValidatorTable,
    WeightsTable,
)

__all__ = [
    "DEFAULT_NAME",
    "BuyerTable",
    "CapTable",
    "ChainTable",
    "Config",
    "ConfigRefused",
    "EndpointTable",
    "EnginesTable",
    "GatewayTable",
    "KeyPath",
    "KeyTable",
    "Loaded",
    "MarketTable",
    "MinerTable",
    "Mistake",
    "ModelTable",
    "PriceTable",
    "ProbesTable",
    "RegistryTable",
    "Secret",
    "TelemetryTable",
    "TierTable",
    "TimeoutsTable",
    "ValidatorTable",
    "WeightsTable",
    "find_path",
    "format_mistake",
    "format_path",
    "load",
    "parse",
    "show",
]
