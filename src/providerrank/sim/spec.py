"""What one simulated endpoint is: the same structure in a scenario file and in Python.

Units are in the names, or as in ``providerrank.toml``: times in seconds, prices in USD per million
tokens. Defaults describe an ideal endpoint: it answers everything, at once.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from providerrank.sim.faults import Fault

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
ApiName = Literal["chat", "completions", "embeddings", "responses", "messages"]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Immutable, and strict about its fields."""


class Ttft(Struct, frozen=True):
    """Time to first token, log-normal: median in seconds, sigma of its natural logarithm."""

    median: NotNegative = 0.0
    sigma: NotNegative = 0.0


class ListPrice(Struct, frozen=True):
    """USD per million tokens, as in configuration."""

    input: NotNegative = 0.0
    output: NotNegative = 0.0
    cached_input: NotNegative | None = None


class Event(Struct, frozen=True):
    """Something that happens to an endpoint ``at`` seconds after the clock was started.

    ``do`` is ``down`` (not listening), ``up`` (as the endpoint's own description says again), ``set``
    (the values given here from now on) or the name of a fault, which every request then meets.
    ``for_s`` (``for`` in a file) ends it after so many seconds; absent, it lasts until ``up``.
    """

    at: NotNegative
    do: str
    for_s: Positive | None = msgspec.field(default=None, name="for")
    ttft: Ttft | None = None
    tokens_per_s: Positive | None = None
    success: Probability | None = None
    price: ListPrice | None = None


class EndpointSpec(Struct, frozen=True):
    """One simulated endpoint."""

    name: str
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """0: any free one."""
    model: str | None = None
    """The only model it serves (404 for others); None: any."""
    apis: tuple[ApiName, ...] = ("chat", "completions", "embeddings")
    """What it speaks; the paths of all others answer 404."""
    key: str | None = None
    """The key it demands (401 without it), as a bearer or, by Anthropic's API, as ``x-api-key``; None: none."""
    ttft: Ttft = Ttft()
    tokens_per_s: Positive | None = None
    """None: as fast as the socket takes them."""
    success: Probability = 1.0
    fault_on_failure: Fault = Fault.STATUS_503
    faults: dict[Fault, Probability] = {}
    """Each fault's probability for a request; at most 1 together."""
    price: ListPrice = ListPrice()
    timeline: tuple[Event, ...] = ()
    reply_tokens: Count = 32
    """Length of an answer, where neither the prompt's ``[[tokens=n]]`` nor ``max_tokens`` says otherwise."""
    context_window: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Prompt and completion tokens; past it 400 ``context_length_exceeded``. None: no limit."""
    prefill: bool = False
    """A final assistant message is continued, exactly where it stops."""
    tools: bool = True
    """Answers a request that carries tools with a call of one."""
    json_schema: bool = True
    """Answers a request for JSON with an instance of its schema; otherwise with plain text."""
    lacks: tuple[str, ...] = ()
    """Request parameters it refuses by name (400 ``unsupported_parameter``)."""
    diverge_at: Count | None = None
    """From this piece on its text differs from what other endpoints say; None: never."""
    embedding_dimensions: Annotated[int, msgspec.Meta(ge=1, le=8192)] = 8
    tls: bool = False
    """Speaks TLS, with the certificate its set of endpoints was given."""
