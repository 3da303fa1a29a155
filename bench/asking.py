"""What the benchmarks that break things share: a world of faulty endpoints, a client that hides nothing, a judge.

The world: endpoints of every kind (chat only, with Responses, with Messages, nothing but Messages), each faulty, and
one that is healthy and can serve every API, by chat where it has to be translated. The client: one kept connection, its
bytes read as they are, so that what follows an answer and does not belong to it is seen. The judge: ``sim.readers``,
which know the APIs and nothing of the gateway, against ``sim.questions``, which know what a healthy endpoint says.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from dataclasses import dataclass, field, replace

import httptools
import msgspec

from providerrank.gateway.settings import Upstream
from providerrank.rules.cells import ASSUMED_FEATURES, Endpoint, Price
from providerrank.sim.faults import LISTENER_FAULTS, Fault
from providerrank.sim.providers import SimProviders
from providerrank.sim.questions import PATHS, Question
from providerrank.sim.readers import NotTheApi, Seen, read_reply
from providerrank.sim.received import Received
from providerrank.sim.spec import ApiName, EndpointSpec

MODEL = "m"
KEY = "sk-secret-of-the-endpoint"
OPENAI: tuple[ApiName, ...] = ("chat", "completions", "embeddings")

LEFT_OUT = LISTENER_FAULTS | {Fault.SCHEMA_VIOLATION}
"""Faults of a listener are not drawn per request. A broken schema is seen only when a stream is over, and then it
has been delivered: it counts against the endpoint, and has tests of its own."""

RATE_LIMITS = frozenset({Fault.RATE_LIMIT, Fault.RATE_LIMIT_DATE, Fault.RATE_LIMIT_BARE})
LASTING = RATE_LIMITS | {Fault.STATUS_401, Fault.STATUS_402, Fault.STATUS_403, Fault.STATUS_404}
"""Faults that keep an endpoint from all requests for a while: as often as the others they would hide them."""

SHOWN = {400, 410, 418, 451}
"""The endpoint's own refusals: another endpoint would agree, so the client is told. Of 400, in these words:"""
SHOWN_WORDS = ("Bad request", "safety system", "content filtering policy", "withdrawn", "teapot", "legal reasons")


@dataclass(frozen=True)
class Kind:
    """One kind of endpoint: what it speaks, what its operator says of it."""

    apis: tuple[ApiName, ...]
    features: frozenset[str]
    dialect: str | None = None


KINDS = {
    "chat": Kind(OPENAI, ASSUMED_FEATURES),
    "responses": Kind((*OPENAI, "responses"), ASSUMED_FEATURES | {"responses"}),
    "messages": Kind((*OPENAI, "messages"), ASSUMED_FEATURES | {"messages"}),
    "anthropic": Kind(("messages",), frozenset({"tools", "json_schema", "vision", "messages"}), "anthropic"),
}


def make_specs(each: int) -> list[EndpointSpec]:
    """``each`` faulty endpoints of each kind, every other one continuing a prefill, and the healthy one."""
    specs = [
        EndpointSpec(name=f"{kind}{i}", apis=KINDS[kind].apis, key=KEY, prefill=i % 2 == 0)
        for kind in KINDS
        for i in range(each)
    ]
    return [*specs, EndpointSpec(name="healthy", key=KEY, prefill=True)]


def make_upstream(spec: EndpointSpec, url: str) -> Upstream:
    """How the gateway is told of it."""
    kind = KINDS.get(spec.name.rstrip("0123456789"), KINDS["chat"])
    features = kind.features | ({"prefill"} if spec.prefill else frozenset())
    endpoint = Endpoint(f"{spec.name}/{MODEL}", MODEL, Price.from_usd(1, 1), features=features)
    return Upstream(endpoint, url, MODEL, KEY, kind.dialect)


class FaultCounter(deque[Received]):
    """Takes the place of an endpoint's memory: which fault each API met, over all requests."""

    def __init__(self) -> None:
        super().__init__()
        self.met: Counter[tuple[str, Fault]] = Counter()

    def append(self, received: Received) -> None:
        super().append(received)
        if len(self) > 200:
            self._count(self.popleft())

    def _count(self, received: Received) -> None:
        if received.fault is not None:
            self.met[received.path.removeprefix("/v1/"), received.fault] += 1

    def total(self) -> Counter[tuple[str, Fault]]:
        while self:
            self._count(self.popleft())
        return self.met


def count_faults(sims: SimProviders) -> list[FaultCounter]:
    """Have every endpoint count what it played."""
    counters = []
    for sim in sims:
        counter = FaultCounter()
        sim.log.kept = counter
        counters.append(counter)
    return counters


def break_endpoints(
    sims: SimProviders, share: float, only: list[str], rare: frozenset[Fault] = RATE_LIMITS
) -> list[str]:
    """Let every endpoint but the healthy one meet each request with a fault, by this chance; returns their names."""
    faults = [fault for fault in Fault if fault not in LEFT_OUT and (not only or fault.value in only)]
    names = [sim.name for sim in sims if sim.name != "healthy"]
    weights = {fault: 0.02 if fault in rare else 1.0 for fault in faults}
    total = sum(weights.values())
    for name in names:
        sims[name].set_chances({fault: weight * share / total for fault, weight in weights.items()})
    return names


APIS: tuple[ApiName, ...] = ("chat", "completions", "embeddings", "responses", "messages")
SHARES = (0.3, 0.1, 0.1, 0.25, 0.25)


def draw(number: int, rng: random.Random) -> tuple[ApiName, Question]:
    """One question, and which API asks it."""
    [api] = rng.choices(APIS, SHARES)
    kind = "text" if api in ("completions", "embeddings") else rng.choices(("text", "tools", "schema"), (70, 18, 12))[0]
    words = f"{number}: tell me about {rng.random()}. [[tokens={rng.randint(4, 40)}]]"
    system = "Be brief." if api in ("chat", "responses", "messages") and rng.random() < 0.3 else None
    limit = rng.randint(2, 30) if kind == "text" and rng.random() < 0.2 else None
    stream = api != "embeddings" and rng.random() < 0.5
    return api, Question(words, kind, stream, rng.random() < 0.5, limit, MODEL, system)


def write_request(api: ApiName, question: Question, order: list[str]) -> bytes:
    """The whole request; ``order``: which endpoints to try first."""
    body = msgspec.json.encode(question.ask(api) | {"provider": {"order": order}})
    head = f"POST {PATHS[api]} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Reply:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False
    """As HTTP goes."""
    began: bool = False
    """A byte of it came."""
    end: str = ""
    """How the connection ended, where it did."""


class Wire:
    """One kept connection."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.asked = 0
        """Requests on this connection."""

    @property
    def port(self) -> int:
        """Our own."""
        assert self._writer is not None
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    async def connect(self) -> None:
        """Have an open connection. Raises OSError."""
        if self._writer is None or self._writer.is_closing() or (self._reader is not None and self._reader.at_eof()):
            self.close()
            self._reader, self._writer = await asyncio.open_connection(*self._address, limit=1 << 20)
            self.asked = 0

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def ask(self, data: bytes, patience_s: float = 60.0) -> Reply:
        """One answer, or as much of it as came."""
        assert self._reader is not None
        assert self._writer is not None
        reply = Reply()
        parsed = _Parsed(reply)
        self.asked += 1
        try:
            self._writer.write(data)
            while not reply.whole:
                got = await asyncio.wait_for(self._reader.read(1 << 18), patience_s)
                if not got:
                    reply.end = "closed"
                    break
                reply.began = True
                parsed.parser.feed_data(got)
        except ConnectionError as error:
            reply.end = type(error).__name__
        except TimeoutError:
            reply.end = f"nothing for {patience_s:.0f} s"
        except httptools.HttpParserError as error:
            reply.whole, reply.end = False, f"not HTTP: {error}"
        reply.body = b"".join(parsed.body)
        if reply.end or reply.headers.get("connection", "").lower() == "close":
            self.close()
        return reply


class _Parsed:
    """httptools' callbacks."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.parser = httptools.HttpResponseParser(self)
        self.body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.reply.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.reply.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.reply.whole = True


@dataclass
class Tally:
    """What clients saw, by API."""

    asked: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    """The endpoint's own, shown as the table says."""
    tool_cuts: Counter[str] = field(default_factory=Counter)
    """Streams that broke after a tool call's first words, ended with a word."""
    wrong: list[str] = field(default_factory=list)
    attempts: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def judge(self, api: ApiName, question: Question, reply: Reply) -> None:
        """Hold one answer against the truth."""
        self.asked[api] += 1
        label = f"{api} {'stream' if question.is_streamed(api) else 'plain'} {question.kind}"
        who = reply.headers.get("x-providerrank-endpoint", "nobody")
        if not reply.whole:
            self.wrong.append(f"{label}: {reply.end} after {len(reply.body)} bytes by {who}")
            return
        self.attempts[int(reply.headers.get("x-providerrank-attempts", 0))] += 1
        try:
            seen = read_reply(api, reply.status, reply.headers, reply.body, question.is_streamed(api))
        except NotTheApi as error:
            self.wrong.append(f"{label}: {error}; by {who}: {reply.body[-300:]!r}")
            return
        problem = self._compare(api, question, reply.status, seen)
        if problem:
            self.wrong.append(f"{label}: {problem}; by {who}")

    def _compare(self, api: ApiName, question: Question, status: int, seen: Seen) -> str:
        if status != 200:
            assert seen.error is not None
            if status not in SHOWN or not any(words in seen.error for words in SHOWN_WORDS):
                return f"HTTP {status} {seen.error[:1500]}"
            self.refusals[api] += 1
            return ""
        text, tool, finish = question.truth(api)
        if seen.error is not None:
            if question.kind != "tools" or seen.tool != tool or not text.startswith(seen.text):
                return f"error event: {seen.error[:1500]}; said {seen.text[:100]!r}"
            self.tool_cuts[api] += 1
            return ""
        if question.limit is not None:
            # What of its limit a cut answer has used up is estimated: it may end some words before or after.
            unlimited, _, _ = replace(question, limit=None).truth(api)
            is_all = seen.finish == "length" or seen.text == unlimited
            if is_all and unlimited.startswith(seen.text) and abs(len(seen.text) - len(text)) <= max(48, len(text)):
                text, finish = seen.text, seen.finish or ""
        if (seen.text, seen.tool, seen.finish) != (text, tool, finish):
            return f"says {seen.text[:150]!r}, {seen.tool}, {seen.finish} and not {text[:150]!r}, {tool}, {finish}"
        if api in ("chat", "completions") and question.usage and question.stream and seen.usage is None:
            return "no usage"
        self.whole[api] += 1
        return ""

    def show(self) -> None:
        """Print what there is to say by API."""
        print(f"{'API':12}{'asked':>8}{'whole, right':>14}{'refusal shown':>15}{'tool call cut':>15}")
        for api in APIS:
            row = self.asked[api], self.whole[api], self.refusals[api], self.tool_cuts[api]
            print(f"{api:12}{row[0]:8}{row[1]:14}{row[2]:15}{row[3]:15}")
        print(f"attempts a request: {dict(sorted(self.attempts.items()))}")


def show_faults(counters: list[FaultCounter]) -> None:
    """Print what endpoints played, by the API they were asked in."""
    total: Counter[tuple[str, Fault]] = Counter()
    for counter in counters:
        total += counter.total()
    paths = ("chat/completions", "completions", "embeddings", "responses", "messages")
    kinds = len({fault for _, fault in total})
    print(f"faults met: {sum(total.values())}, of {kinds} kinds, by what endpoints were asked in")
    print(f"{'':24}" + "".join(f"{path.removesuffix('/completions'):>12}" for path in paths))
    for fault in sorted({fault for _, fault in total}):
        print(f"{fault.value:24}" + "".join(f"{total[path, fault]:12}" for path in paths))
