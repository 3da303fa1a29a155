"""Models, endpoints, tasks and cells: the nouns every other rule speaks of.

An *endpoint* is one provider's deployment of one *model*. A *cell* is model x endpoint x task:
the unit that is measured, scored and paid for. Prices are integers of nano-USD per million tokens,
so that 0.90 USD per million tokens is exactly ``900_000_000`` and a hash of a price is a hash of
an integer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NUSD_PER_USD = 1_000_000_000
TOKENS_PER_PRICE = 1_000_000

CHAT = "chat"
CODE = "code"
JSON = "json"
TOOLS = "tools"
LONG_CONTEXT = "long-context"
TASKS = (CHAT, CODE, JSON, TOOLS, LONG_CONTEXT)
"""The task types with parameters of their own. The list is open: any other name is ranked as chat."""

PROBE = "probe"
"""The task of a gateway's own probes of idle endpoints, whose figures other cells borrow (see `idle_probes`). No
request is of it: whoever names it is ranked as chat."""

FEATURES = ("tools", "json_schema", "vision", "prefill", "logprobs", "embeddings", "responses", "messages")
"""What an endpoint may offer beside plain chat; the names used in configuration."""

ASSUMED_FEATURES = frozenset({"tools", "json_schema", "vision", "logprobs", "embeddings"})
"""Assumed of an endpoint that lists no features. The last three names above must be claimed:
a wrong guess there changes bytes on the wire, a wrong guess here is one refused attempt."""


@dataclass(frozen=True, slots=True)
class Price:
    """List price of one endpoint, in nano-USD per million tokens; 0 and up."""

    input_nusd: int
    output_nusd: int
    cached_input_nusd: int | None = None

    @classmethod
    def from_usd(cls, input_usd: float, output_usd: float, cached_input_usd: float | None = None) -> Price:
        """Build from USD per million tokens, the unit of configuration and of price lists."""
        cached = None if cached_input_usd is None else round(cached_input_usd * NUSD_PER_USD)
        return cls(round(input_usd * NUSD_PER_USD), round(output_usd * NUSD_PER_USD), cached)

    def cost_nusd(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0.0) -> float:
        """Cost of one request in nano-USD; ``cached_tokens`` of the input are billed at the cached price."""
        cached = self.input_nusd if self.cached_input_nusd is None else self.cached_input_nusd
        return (
            (input_tokens - cached_tokens) * self.input_nusd + cached_tokens * cached + output_tokens * self.output_nusd
        ) / TOKENS_PER_PRICE


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider's deployment of one model, as the rules see it (no URL, no key)."""

    id: str
    """``provider/model[@region][:quantization]``, unique."""
    model: str
    price: Price
    context_window: int | None = None
    """Most prompt plus completion tokens it takes; None when not stated, then never excluded for it."""
    features: frozenset[str] = field(default=ASSUMED_FEATURES)

    @property
    def provider(self) -> str:
        """The part of the id before the first slash."""
        return self.id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Cell:
    """The unit that is measured, scored and paid for."""

    endpoint_id: str
    task: str
