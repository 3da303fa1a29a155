"""What the official SDKs are pointed at: a gateway that wants a key, in front of endpoints of one kind or another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

from providerrank.gateway.settings import Clocks, Limits
from providerrank.rules.cells import ASSUMED_FEATURES
from providerrank.sim.spec import ApiName, EndpointSpec
from tests.integration.gateway_bed import Bed, Seller, bed

KEY = "sk-test"

APIS: Mapping[str, tuple[ApiName, ...]] = MappingProxyType(
    {
        "chat": ("chat", "completions", "embeddings"),
        "responses": ("chat", "completions", "embeddings", "responses"),
        "messages": ("messages",),
    }
)
"""Kinds of endpoints: what each speaks. Those of Anthropic's speak nothing else."""


def seller(name: str, kind: str = "chat", **fields: object) -> Seller:
    """An endpoint of a kind of ``APIS``; ``fields`` are its ``EndpointSpec``'s."""
    spec = EndpointSpec(name=name, apis=APIS[kind], **fields)  # type: ignore[arg-type]  # whatever the test says
    features = ASSUMED_FEATURES if kind == "chat" else ASSUMED_FEATURES | {kind}
    return Seller(name, features=features, spec=spec)


def pair(kind: str) -> tuple[Seller, Seller]:
    """Two endpoints, ``a`` before ``b``. Of ``mixed`` ones the first speaks Anthropic's API only, the second chat."""
    if kind == "mixed":
        return seller("a", "messages"), seller("b", "chat")
    return seller("a", kind), seller("b", kind)


@asynccontextmanager
async def served(*sellers: Seller, limits: Limits | None = None) -> AsyncIterator[Bed]:
    """A gateway that wants ``KEY``."""
    clocks = Clocks(first_token_us=5_000_000, idle_us=1_000_000)
    async with bed(*(sellers or pair("chat")), keys=(KEY,), clocks=clocks, limits=limits) as it:
        yield it
