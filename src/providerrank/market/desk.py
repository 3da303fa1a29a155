"""What a miner answers to validators: its bundle, and the leaves they pick.

    GET  /v1/bundles/{epoch}            the bundle, once it is revealed
    POST /v1/bundles/{epoch}/openings   {"leaves": [3, 17]} -> one opening a line

Every request is signed (`wire.auth`); who has no validator permit, or no stake, is refused before anything is looked
up. What is asked for is bounded: a validator needs a few dozen leaves of a bundle, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from providerrank.market.errors import ChainError
from providerrank.market.miner import Miner
from providerrank.market.ports import ChainReader, Metagraph
from providerrank.rules.gate import compute_openings
from providerrank.wire import canonical
from providerrank.wire.auth import AuthError, NonceMemory, UnknownSender, verify_request

METAGRAPH_US: Final = 30_000_000
"""How long who may ask is taken to stay the same."""
MAX_BODY: Final = 16 * 1024
MAX_LEAVES_FACTOR: Final = 4
"""Leaves one validator may have opened of one bundle, in what the rules open: it may be restarted, not curious."""
MAX_BUNDLES: Final = 20
"""Times one validator may fetch one bundle."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, headers by lower-case name."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"


class Desk:
    """Answers for one miner."""

    def __init__(
        self,
        miner: Miner,
        chain: ChainReader,
        hotkey: str,
        now_ns: Callable[[], int],
        metagraph_us: int = METAGRAPH_US,
    ) -> None:
        self._miner = miner
        self._chain = chain
        self._hotkey = hotkey
        self._now_ns = now_ns
        self._metagraph_us = metagraph_us
        # What is asked for is only read: doing it twice does no harm, so a restart begins with an empty memory.
        self._nonces = NonceMemory(0)
        self._metagraph: Metagraph | None = None
        self._read_us = 0
        self._leaves: Counter[tuple[str, int]] = Counter()
        self._fetched: Counter[tuple[str, int]] = Counter()

    async def answer(self, request: Request) -> Reply:
        """Answer one request; never raises for what was sent."""
        reply = await self._answer(request)
        self._miner.stats.served[str(reply.status)] += 1
        return reply

    async def _answer(self, request: Request) -> Reply:
        if len(request.body) > MAX_BODY:
            return _refuse(413, "too-large", f"a request body has at most {MAX_BODY} bytes")
        try:
            metagraph = await self._get_metagraph()
        except ChainError:
            return _refuse(503, "no-chain", "the chain does not answer: who may ask is not known")
        try:
            caller = verify_request(
                request.headers,
                method=request.method,
                target=request.target,
                body=request.body,
                receiver=self._hotkey,
                now_ns=self._now_ns(),
                memory=self._nonces,
                is_known=lambda hotkey: is_served(metagraph, hotkey),
            )
        except UnknownSender:
            return _refuse(403, "no-permit", "only validators with stake and a permit are served")
        except AuthError as error:
            return _refuse(error.status, "not-signed", str(error))
        match request.method, request.target.split("/"):
            case "GET", ["", "v1", "bundles", epoch] if _is_number(epoch):
                return self._show(caller.hotkey, int(epoch))
            case "POST", ["", "v1", "bundles", epoch, "openings"] if _is_number(epoch):
                return self._open(caller.hotkey, int(epoch), request.body)
            case _:
                return _refuse(404, "no-such-path", "there are /v1/bundles/EPOCH and /v1/bundles/EPOCH/openings")

    def _show(self, hotkey: str, epoch: int) -> Reply:
        bundle = self._miner.load_bundle(epoch) if self._miner.is_shown(epoch) else None
        if bundle is None:
            return _refuse(404, "not-revealed", f"there is no bundle of epoch {epoch} to be seen")
        self._fetched[hotkey, epoch] += 1
        if self._fetched[hotkey, epoch] > MAX_BUNDLES:
            return _refuse(429, "too-often", "this bundle was fetched often enough")
        return Reply(200, bundle.encode(), "application/octet-stream")

    def _open(self, hotkey: str, epoch: int, body: bytes) -> Reply:
        leaves = _read_leaves(body)
        if leaves is None:
            return _refuse(400, "malformed", 'a request for openings is {"leaves":[3,17]}, in canonical JSON')
        self._leaves[hotkey, epoch] += len(leaves)
        if self._leaves[hotkey, epoch] > MAX_LEAVES_FACTOR * compute_openings(self._miner.settings.params):
            return _refuse(429, "too-often", "enough leaves of this bundle were opened")
        try:
            opened = self._miner.open_leaves(epoch, leaves)
        except KeyError:
            return _refuse(404, "no-such-leaf", f"there is no such record in the bundle of epoch {epoch}, if any")
        return Reply(200, b"".join(one + b"\n" for one in opened), "application/x-ndjson")

    async def _get_metagraph(self) -> Metagraph:
        now_us = self._now_ns() // 1_000
        if self._metagraph is None or not 0 <= now_us - self._read_us < self._metagraph_us:
            self._metagraph = await self._chain.metagraph()
            self._read_us = now_us
            # As old as an epoch, and most often longer: what was counted of older ones no longer matters.
            if len(self._leaves) + len(self._fetched) > MAX_BODY:
                self._leaves.clear()
                self._fetched.clear()
        return self._metagraph


def is_served(metagraph: Metagraph, hotkey: str) -> bool:
    """Whether a hotkey is a validator with permit and stake."""
    neuron = metagraph.find(hotkey)
    return neuron is not None and neuron.permit and neuron.stake_rao > 0


def write_leaves(leaves: list[int]) -> bytes:
    """Write a request for openings."""
    return canonical.encode({"leaves": leaves})


def _read_leaves(body: bytes) -> list[int] | None:
    try:
        match canonical.decode(body):
            case {"leaves": list(leaves), **rest} if not rest:
                numbers = [leaf for leaf in leaves if isinstance(leaf, int) and not isinstance(leaf, bool)]
                return numbers if numbers and len(numbers) == len(leaves) == len(set(numbers)) else None
    except canonical.NotCanonical:
        pass
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def _refuse(status: int, code: str, message: str) -> Reply:
    return Reply(status, canonical.encode({"error": {"code": code, "message": message}}))


Answering = Callable[[Request], Awaitable[Reply]]
