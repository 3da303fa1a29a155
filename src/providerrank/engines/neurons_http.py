"""Asks miners for bundles and openings over signed HTTP.

A miner is hostile until shown otherwise: its address may point anywhere, its answer may never end. So an address inside
this machine or its network is not asked unless that is allowed, no redirect is followed, every answer has a bound in
bytes and in time, and none is decompressed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Sequence
from typing import Final

import httpx

from providerrank.market.desk import write_leaves
from providerrank.market.neurons import TooBig, Unreachable, Withheld
from providerrank.market.ports import Neuron
from providerrank.wire.auth import sign_request
from providerrank.wire.bundle import MAX_BYTES
from providerrank.wire.opening import MAX_OPENING
from providerrank.wire.signature import Hotkey

CONNECT_S: Final = 5.0
IDLE_S: Final = 10.0
BUNDLE_S: Final = 60.0
OPENINGS_S: Final = 60.0
TRIES: Final = 2
MAX_OPENINGS: Final = 32 * 1024 * 1024
"""Bytes of all openings of one answer."""


class HttpNeurons:
    """A ``Neurons``; to be made and used on one event loop."""

    def __init__(self, key: Hotkey, *, allow_private: bool, total_s: float = BUNDLE_S) -> None:
        self._key = key
        self._allow_private = allow_private
        self._total_s = total_s
        timeout = httpx.Timeout(IDLE_S, connect=CONNECT_S)
        headers = {"accept-encoding": "identity"}
        self._client = httpx.AsyncClient(timeout=timeout, follow_redirects=False, headers=headers, trust_env=False)

    async def fetch_bundle(self, neuron: Neuron, epoch: int) -> bytes:
        """Fetch a bundle."""
        return await self._ask(neuron, "GET", f"/v1/bundles/{epoch}", b"", MAX_BYTES)

    async def fetch_openings(self, neuron: Neuron, epoch: int, leaves: Sequence[int]) -> list[bytes]:
        """Fetch openings."""
        most = min(MAX_OPENINGS, (MAX_OPENING + 1) * len(leaves))
        body = write_leaves(list(leaves))
        answer = await self._ask(neuron, "POST", f"/v1/bundles/{epoch}/openings", body, most)
        return answer.splitlines()

    async def close(self) -> None:
        """Close the pool."""
        await self._client.aclose()

    async def _ask(self, neuron: Neuron, method: str, target: str, body: bytes, most: int) -> bytes:
        """Ask, and once more where nobody answered: a lost packet is not worth an epoch."""
        for left in reversed(range(TRIES)):
            try:
                return await self._ask_once(neuron, method, target, body, most)
            except Unreachable:
                if not left:
                    raise
        raise AssertionError

    async def _ask_once(self, neuron: Neuron, method: str, target: str, body: bytes, most: int) -> bytes:
        if neuron.address is None:
            raise Unreachable("it has announced no address")
        if not self._allow_private and is_private(neuron.address):
            raise Unreachable("its address is inside a private network")
        headers = sign_request(
            self._key, method=method, target=target, body=body, receiver=neuron.hotkey, nonce_ns=time.time_ns()
        )
        url = f"http://{neuron.address}{target}"
        got = bytearray()
        try:
            async with (
                asyncio.timeout(self._total_s),
                self._client.stream(method, url, content=body, headers=headers) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise Withheld(f"it answers with status {response.status_code}")
                async for chunk in response.aiter_raw():
                    got += chunk
                    if len(got) > most:
                        raise TooBig(f"its answer has more than {most} bytes")
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise Unreachable(f"it cannot be reached ({type(error).__name__})") from None
        return bytes(got)


def is_private(address: str) -> bool:
    """Whether ``host:port`` is no address of the public internet; what is no address at all counts as one."""
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return True
