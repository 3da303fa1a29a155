"""Streams that pass as their endpoint wrote them, to a client of the same API."""

from __future__ import annotations

import pytest

from providerrank.rules.cells import ASSUMED_FEATURES
from providerrank.sim.spec import ApiName, EndpointSpec
from tests.integration.gateway_bed import CHAT, Body, Seller, bed

NATIVE: list[tuple[ApiName, Body]] = [
    ("responses", {"model": "m", "input": "Say something. [[tokens=8]]", "stream": True}),
    ("messages", {"model": "m", "max_tokens": 9, "messages": CHAT["messages"], "stream": True}),
]


@pytest.mark.parametrize(("api", "body"), NATIVE)
async def test_a_native_stream_leaves_its_connection_fit_for_more(api: ApiName, body: Body) -> None:
    # Nothing is to be added to such a stream: its last chunk once, and not a byte after it.
    spec = EndpointSpec(name="a", apis=("chat", api))
    async with bed(Seller("a", features=ASSUMED_FEATURES | {api}, spec=spec)) as it, it.wire() as wire:
        answers = [await wire.ask(body, f"/v1/{api}") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert all(answer.whole and answer.is_stream for answer in answers)
        assert (await wire.ask(CHAT)).status == 200
        assert it.sims["a"].log.last.path == "/v1/chat/completions"
