"""A real gateway between a raw client and simulated endpoints, all on one event loop and on free ports.

    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Fault.STATUS_500])
        answer = await it.ask(CHAT)
        assert answer.text == truth(CHAT)

Endpoints are tried in the order they are given in (the model's pins), so that a test knows who meets what. What an
endpoint says is a function of the prompt alone: ``truth`` is what every healthy one would say, to the character.
When the block ends, nothing may be left: no attempt in flight, no exchange, no connection, no task.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httptools

from providerrank.engines.ledger_memory import MemoryLedger
from providerrank.gateway.ports import Ledger
from providerrank.gateway.server import Gateway
from providerrank.gateway.settings import BuyerKey, Clocks, GatewaySettings, Limits, Priority, Upstream
from providerrank.rules.attempt import Attempt
from providerrank.rules.catalog import Buyer, Catalog, ModelRules, Tier
from providerrank.rules.cells import ASSUMED_FEATURES, Endpoint, Price
from providerrank.rules.idle_probes import ProbeRules
from providerrank.rules.observation import Observation
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import Ranked
from providerrank.rules.router import Router
from providerrank.rules.sight import Looks
from providerrank.sim.answers import compute_chat, compute_completion
from providerrank.sim.asks import decode_chat, decode_completion
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import ApiName, EndpointSpec

MODEL = "m"
WAIT_S = 20.0
"""For what takes milliseconds on a machine with nothing else to do."""

CHAT_PATH = "/v1/chat/completions"
TEXT_PATH = "/v1/completions"

Body = dict[str, Any]
"""A request's body. ``Any``: it is whatever JSON the test wants to send."""

CHAT: Body = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Say something. [[tokens=24]]"}],
    "temperature": 0,
}
STREAM: Body = {**CHAT, "stream": True}
STREAM_USAGE: Body = {**STREAM, "stream_options": {"include_usage": True}}
TEXT: Body = {"model": MODEL, "prompt": "Once upon a time [[tokens=24]]", "temperature": 0}
TOOLS: Body = {
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "look",
                "parameters": {
                    "type": "object",
                    "properties": {"where": {"type": "string"}, "deep": {"type": "integer"}, "x": {"type": "integer"}},
                    "required": ["where", "deep", "x"],
                },
            },
        }
    ]
}
SCHEMA: Body = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "s",
            "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        },
    }
}
"""Fields to add to a request, so that it carries tools, or asks for an instance of a schema."""


def truth(body: Body) -> str:
    """What a healthy endpoint says: the text, or the arguments of the tool call."""
    data = json.dumps(body).encode()
    spec = EndpointSpec(name="truth")
    answer = (
        compute_completion(spec, decode_completion(data)) if "prompt" in body else compute_chat(spec, decode_chat(data))
    )
    said = json.loads(b'"%b"' % b"".join(answer.pieces))
    assert isinstance(said, str)
    return said


# ---- the client ------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What came back, to the byte."""

    status: int = 0
    raw_headers: list[tuple[str, str]] = field(default_factory=list)
    """Names in lower case."""
    body: bytes = b""
    whole: bool = False
    """As HTTP's framing says: where it is False the connection ended inside the message."""
    interim: list[int] = field(default_factory=list)
    """1xx statuses that came before."""

    @property
    def headers(self) -> dict[str, str]:
        """By name; no header of ours comes twice, and nobody else's comes through."""
        names = [name for name, _ in self.raw_headers]
        assert len(names) == len(set(names)), f"repeated headers: {names}"
        return dict(self.raw_headers)

    @property
    def attempts(self) -> int:
        return int(self.headers["x-providerrank-attempts"])

    @property
    def endpoint(self) -> str | None:
        """The provider that answered."""
        name = self.headers.get("x-providerrank-endpoint")
        return None if name is None else name.partition("/")[0]

    @property
    def is_stream(self) -> bool:
        return self.headers["content-type"].startswith("text/event-stream")

    def json(self) -> Any:  # whatever JSON there is
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, held to OpenAI's shape: of an error answer, or of the event that ends a broken stream."""
        whole = self.objects[-1] if self.is_stream else self.json()
        assert list(whole) == ["error"]
        error: dict[str, Any] = whole["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error

    @property
    def events(self) -> list[str]:
        """Payloads of a stream's events; nothing else is in it."""
        text = self.body.decode()
        assert text.endswith("\n\n")
        blocks = text.split("\n\n")[:-1]
        assert all(block.startswith("data: ") and "\n" not in block for block in blocks), blocks
        return [block[6:] for block in blocks]

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def choices(self) -> list[dict[str, Any]]:
        """Of a plain answer, or of all of a stream's events."""
        if self.is_stream:
            return [choice for one in self.objects for choice in one.get("choices", ())]
        choices: list[dict[str, Any]] = self.json()["choices"]
        return choices

    @property
    def text(self) -> str:
        """Everything said: text, or a tool call's arguments."""
        said = []
        for choice in self.choices:
            message = choice.get("delta", choice.get("message", choice))
            said.append(message.get("content") or message.get("text") or "")
            said += [call["function"].get("arguments") or "" for call in message.get("tool_calls") or ()]
        return "".join(said)

    @property
    def finish(self) -> str | None:
        return next((choice["finish_reason"] for choice in self.choices if choice.get("finish_reason")), None)

    @property
    def usages(self) -> list[dict[str, int]]:
        """Every usage there is: more than one would be billed twice by some client."""
        objects = self.objects if self.is_stream else [self.json()]
        return [one["usage"] for one in objects if one.get("usage")]


class _Parsed:
    """httptools' callbacks, kept in an answer."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.raw_headers.append((name.decode().lower(), value.decode()))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200:
            self.answer.interim.append(status)
            self.answer.raw_headers.clear()
        else:
            self.answer.status = status

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.answer.whole = self.answer.status >= 200

    def finish(self) -> Answer:
        self.answer.body = b"".join(self._body)
        return self.answer


class Wire:
    """One connection to a gateway, its bytes in our hands. Reads nothing unless told to."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 16)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass

    def send(self, data: bytes) -> None:
        """Hand bytes to the kernel, at once where it takes them."""
        self._writer.write(data)

    async def read(self) -> bytes:
        """Some bytes; none where the connection has ended, in order or not."""
        try:
            return await asyncio.wait_for(self._reader.read(1 << 16), WAIT_S)
        except ConnectionError:
            return b""

    async def is_closed(self) -> bool:
        """Wait for the other side's end; False where something else comes."""
        return await self.read() == b""

    async def answer(self, begin: bytes = b"") -> Answer:
        """Read one answer to its end, or to the connection's."""
        parsed = _Parsed()
        data = begin or await self.read()
        while data:
            parsed.parser.feed_data(data)
            if parsed.answer.whole:
                break
            data = await self.read()
        else:
            headers = dict(parsed.answer.raw_headers)
            # A body without length or chunks ends where the connection does.
            parsed.answer.whole = (
                bool(headers) and "content-length" not in headers and "transfer-encoding" not in headers
            )
        return parsed.finish()

    async def ask(self, body: Body, path: str = CHAT_PATH, headers: Mapping[str, str] | None = None) -> Answer:
        self.send(post(body, path, headers))
        return await self.answer()

    async def read_until(self, found: bytes) -> bytes:
        """Everything up to the read that brought ``found``."""
        data = b""
        while found not in data:
            more = await self.read()
            assert more, f"the connection ended before {found!r}: {data!r}"
            data += more
        return data


def post(body: Body | bytes, path: str = CHAT_PATH, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Host": "gateway", "Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data


def get(path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> bytes:
    lines = {"Host": "gateway", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode()


# ---- the gateway and what is behind it -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seller:
    """One endpoint: what it is, and what the operator has written of it."""

    name: str
    model: str = MODEL
    price: float = 1.0
    features: frozenset[str] = ASSUMED_FEATURES
    context_window: int | None = None
    key: str | None = None
    url: str | None = None
    """In place of the simulated endpoint's own."""
    spec: EndpointSpec | None = None
    """In place of an ideal one's."""
    apis: tuple[ApiName, ...] = ("chat", "completions", "embeddings")
    """What it really speaks; ``features`` and ``dialect`` are what the operator says it does."""
    dialect: str | None = None
    prefill: str | None = None

    @property
    def id(self) -> str:
        return f"{self.name}/{self.model}"

    def simulate(self) -> EndpointSpec:
        return self.spec or EndpointSpec(
            name=self.name, prefill="prefill" in self.features, apis=self.apis, key=self.key
        )


PREFILL = ASSUMED_FEATURES | {"prefill"}


@dataclass
class Bed:
    """What a test holds in its hands."""

    sims: SimProviders
    gateway: Gateway
    ended: list[tuple[Attempt, Observation]]
    """Every attempt that ended, and what was learned from it."""
    upstreams: dict[str, Upstream]
    """By the seller's name."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    def wire(self) -> Wire:
        """A new connection, as a context manager."""
        return Wire(self.gateway.port)

    async def ask(self, body: Body, path: str = CHAT_PATH, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask on a connection of its own."""
        async with self.wire() as wire:
            return await wire.ask(body, path, headers)

    async def fetch(self, data: bytes) -> Answer:
        """Send bytes on a connection of their own."""
        async with self.wire() as wire:
            wire.send(data)
            return await wire.answer()

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Who was blamed for what, in order."""
        return [(attempt.endpoint.provider, seen.outcome.name) for attempt, seen in self.ended]

    def received(self, name: str) -> list[Any]:
        """Bodies that an endpoint was sent."""
        return [one.json() for one in self.sims[name].log]

    def row(self, name: str, model: str = MODEL) -> Ranked:
        """An endpoint's row of the ranking."""
        [row] = [
            row
            for row in self.gateway.router.ranking(model, self.gateway.now_us()).rows
            if row.endpoint.provider == name
        ]
        return row


@asynccontextmanager
async def bed(
    *sellers: Seller,
    clocks: Clocks | None = None,
    limits: Limits | None = None,
    keys: tuple[str, ...] = (),
    buyer_keys: tuple[BuyerKey, ...] = (),
    ledger: Ledger | None = None,
    models: Sequence[ModelRules] = (),
    tiers: Sequence[Tier] = (),
    buyer: Buyer | None = None,
    pinned: bool = True,
    trust: ssl.SSLContext | None = None,
    certificate: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    explain: int = 0,
    hedge: float = PARAMS.hedge_share,
    tier_priorities: Mapping[str, Priority] | None = None,
    probes: ProbeRules | None = None,
) -> AsyncIterator[Bed]:
    """A gateway in front of ``sellers``. ``models`` replace the rules made from their order."""
    before = asyncio.all_tasks()
    ended: list[tuple[Attempt, Observation]] = []
    rules = {one.id: one for one in models}
    if pinned:
        for name in {seller.model for seller in sellers} - set(rules):
            rules[name] = ModelRules(name, pin=tuple(s.id for s in sellers if s.model == name))
    async with SimProviders([seller.simulate() for seller in sellers], tls=certificate) as sims:
        upstreams = tuple(
            Upstream(
                Endpoint(s.id, s.model, Price.from_usd(s.price, s.price), s.context_window, s.features),
                s.url or sims[s.name].url,
                f"upstream-{s.model}",
                s.key,
                s.dialect,
                s.prefill,
            )
            for s in sellers
        )
        catalog = Catalog(
            tuple(u.endpoint for u in upstreams), tuple(rules.values()), buyer or Buyer(exploration=0.0), tuple(tiers)
        )
        gateway = Gateway(
            GatewaySettings(
                host=host,
                port=0,
                keys=keys,
                buyer_keys=buyer_keys,
                upstreams=upstreams,
                clocks=clocks or Clocks(),
                limits=limits or Limits(),
                explain=explain,
                hedge=hedge,
                tier_priorities=tier_priorities or {},
                probes=probes,
            ),
            Router(catalog, random.Random(1), looks=Looks(8 * explain, PARAMS)),
            tls=trust,
            on_attempt=lambda attempt, observation: ended.append((attempt, observation)),
            ledger=ledger or MemoryLedger(),
        )
        await gateway.start()
        try:
            yield Bed(sims, gateway, ended, {one.endpoint.provider: one for one in upstreams})
            await _check_settled(gateway)
        finally:
            await gateway.drain(0.1)
    await until(lambda: not [task for task in asyncio.all_tasks() - before if not task.done()])


async def _check_settled(gateway: Gateway) -> None:
    """Every attempt that began has ended, and nothing is kept of any request."""
    await until(lambda: not gateway._exchanges and not any(gateway.stats.in_flight.values()))
    assert not any(state.in_flight for state in gateway.router._endpoints.values())


async def until(is_so: Any, within_s: float = WAIT_S) -> None:  # any callable without arguments
    """Wait for what is to become true; fails where it does not in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not is_so():
        assert asyncio.get_running_loop().time() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


def assert_whole(answer: Answer, body: Body) -> None:
    """The client received what a healthy endpoint says, complete, and nothing else."""
    assert answer.status == 200, answer.body
    assert answer.whole
    assert answer.text == truth(body)
    assert answer.finish == ("tool_calls" if "tools" in body else "stop")
    if not body.get("stream"):
        assert not answer.is_stream
        return
    assert answer.is_stream
    events, objects = answer.events, answer.objects
    assert events[-1] == "[DONE]"
    assert events.count("[DONE]") == 1
    assert not any("error" in one for one in objects)
    assert len({one["id"] for one in objects}) == 1, "the answer is one stream, whoever wrote it"
    wants_usage = (body.get("stream_options") or {}).get("include_usage") is True
    assert len(answer.usages) == (1 if wants_usage else 0)
    if wants_usage:
        assert objects[-1]["choices"] == []
        assert objects[-1]["usage"]["completion_tokens"] > 0


def assert_broken_off(answer: Answer, body: Body) -> None:
    """What the client received is true, visibly not all, and says why."""
    assert answer.status == 200
    assert answer.whole
    assert answer.is_stream
    said = "".join(
        part
        for one in answer.objects
        for choice in one.get("choices", ())
        for part in (
            choice.get("text") or choice.get("delta", {}).get("content") or "",
            *(call["function"].get("arguments") or "" for call in choice.get("delta", {}).get("tool_calls") or ()),
        )
    )
    assert said
    assert truth(body).startswith(said)
    assert said != truth(body)
    assert "[DONE]" not in answer.events
    assert answer.finish is None
    assert answer.error["message"]
