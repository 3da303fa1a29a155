"""One simulated endpoint: its state, the choice of each request's fate, and its memory.

What a request meets is decided in this order, the first that has an opinion wins:

1. the *script*: faults to play in order, one for each request (None: none for this one);
2. a fault *switched* on, until it is switched off or its time is over;
3. the *behaviour*: with the complement of its success probability, its fault;
4. the *chances* of the description: each fault with its own probability.

What the endpoint refuses of its own accord (a wrong key, an unknown model, a prompt too long, a parameter it
lacks) is decided after that, for requests that met no fault.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from providerrank.sim import bodies, bodies_messages, framing
from providerrank.sim.answers import Answer, Refusal, compute_chat, compute_completion
from providerrank.sim.apis import APIS, CHAT, EMBEDDINGS, MESSAGES, Api, get_skip
from providerrank.sim.asks import Ask, CompletionAsk, decode_embedding, decode_keys
from providerrank.sim.behaviour import Behaviour, State, Steady
from providerrank.sim.connection import Connection
from providerrank.sim.doors import Garbled, Slammed, TlsDoor
from providerrank.sim.faults import CONNECTION_FAULTS, LISTENER_FAULTS, Fault, Play
from providerrank.sim.faulty import Exchange, perform, perform_refusal, unsupported_refusal
from providerrank.sim.listener import Listener, Mode
from providerrank.sim.performance import Performance
from providerrank.sim.received import Log, Received
from providerrank.sim.spec import EndpointSpec, Event, ListPrice

OVER_BILLING_FACTOR = 2.0


class SimEndpoint:
    """A running endpoint. Everything here is called from the event loop it runs on."""

    def __init__(
        self,
        spec: EndpointSpec,
        clock: Callable[[], float],
        behaviour: Behaviour | None = None,
        rng: random.Random | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if spec.tls and tls is None:
            raise ValueError(f"endpoint {spec.name!r} is to speak TLS and there is no certificate")
        self.spec = spec
        self.log = Log()
        self.price: ListPrice = spec.price
        self.rng = rng or random.Random(spec.name)
        self._clock = clock
        self._behaviour: Behaviour = behaviour or Steady(_state_of(spec))
        self._base_behaviour = self._behaviour
        self._tls = tls if spec.tls else None
        self._chances: tuple[tuple[Fault, float], ...] = tuple(spec.faults.items())
        self._script: deque[Play | None] = deque()
        self._switched: Play | None = None
        self._switched_until_s = math.inf
        self._listener: Listener | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._switching = asyncio.Lock()
        self._idle_waiters: list[asyncio.Future[None]] = []

    # --- life ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.spec.name

    @property
    def port(self) -> int:
        """The port it has; raises ``RuntimeError`` before it was started."""
        if self._listener is None:
            raise RuntimeError(f"endpoint {self.name!r} is not started")
        return self._listener.port

    @property
    def url(self) -> str:
        """The base URL, as an OpenAI client wants it."""
        return f"{'https' if self._tls else 'http'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}/v1"

    async def start(self) -> None:
        """Take the port and listen."""
        self._listener = Listener(self.spec.port)
        await self._listener.open(self._accept)

    def stop(self) -> None:
        """Give the port back and reset every connection."""
        self.drop_connections()
        for task in self._tasks:
            task.cancel()
        if self._listener is not None:
            self._listener.close()

    def drop_connections(self) -> None:
        """Reset every connection, as a process that is killed does."""
        for connection in tuple(self._connections):
            connection.reset()

    def close_idle(self) -> None:
        """Close, in order, the connections no request is on."""
        for connection in tuple(self._connections):
            if connection.is_idle:
                connection.close()

    async def idle(self) -> None:
        """Wait until no request is being answered: each answer has ended, or its client has left."""
        if self.log.in_flight:
            waiter = asyncio.get_running_loop().create_future()
            self._idle_waiters.append(waiter)
            await waiter

    # --- control -------------------------------------------------------------------------------------------------

    async def switch(self, what: Fault | Play | None, for_s: float | None = None) -> None:
        """Make every request from now on meet a fault, until ``for_s`` seconds are over; None: no more.

        The listener's faults take the open connections with them. A rate limit switched on for a time tells
        clients how much of it is left, unless its play says otherwise.
        """
        play = Play(what) if isinstance(what, Fault) else what
        self._switched = play
        self._switched_until_s = math.inf if for_s is None else _now_s() + for_s
        if play is not None and play.fault in LISTENER_FAULTS and for_s is not None:
            self._later(for_s, play)
        async with self._switching:  # One after the other, in the order of the calls.
            await self._set_listener(play)

    async def _set_listener(self, play: Play | None) -> None:
        listener = self._listener
        if listener is None:
            return
        if play is not None and play.fault in LISTENER_FAULTS:
            if play.fault is Fault.REFUSED:
                listener.refuse()
            else:
                listener.hang()
            self.drop_connections()
        else:
            if listener.mode is not Mode.OPEN:
                await listener.open(self._accept)
            if play is not None and play.fault in CONNECTION_FAULTS:
                self.close_idle()

    async def down(self) -> None:
        """Stop listening and reset every connection."""
        await self.switch(Fault.REFUSED)

    async def up(self) -> None:
        """Be again as the description says."""
        self._behaviour = self._base_behaviour
        self.price = self.spec.price
        await self.switch(None)

    def script(self, plays: Iterable[Fault | Play | None]) -> None:
        """Replace the script: what the next requests (or connections, for connection faults) meet, in order.

        Raises ``ValueError`` for the listener's faults, which no request can be seen to meet: ``switch`` them.
        """
        made = [Play(one) if isinstance(one, Fault) else one for one in plays]
        for play in made:
            if play is not None and play.fault in LISTENER_FAULTS:
                raise ValueError(f"{play.fault} is a state of the listener: use switch(), a script cannot play it")
        self._script = deque(made)
        self._align()

    @property
    def script_left(self) -> int:
        """How much of the script is still to be played."""
        return len(self._script)

    def behave(self, behaviour: Behaviour) -> None:
        """Follow another behaviour from now on."""
        self._behaviour = self._base_behaviour = behaviour

    def set_chances(self, chances: dict[Fault, float]) -> None:
        """Replace the faults' probabilities; raises ``ValueError`` where they exceed 1 together."""
        if sum(chances.values()) > 1.0 + 1e-9 or min(chances.values(), default=0.0) < 0.0:
            raise ValueError("the faults' probabilities must be 0 and up, and at most 1 together")
        self._chances = tuple(chances.items())

    async def apply(self, event: Event) -> None:
        """Let an event of a timeline happen."""
        if event.do == "down":
            await self.switch(Fault.REFUSED, event.for_s)
        elif event.do == "up":
            await self.up()
        elif event.do == "set":
            self._set(event)
        else:
            await self.switch(Fault(event.do), event.for_s)

    def _set(self, event: Event) -> None:
        before = self._behaviour
        state = before.at(self._clock())
        ttft = event.ttft
        self._behaviour = Steady(
            State(
                success=state.success if event.success is None else event.success,
                ttft_median_s=state.ttft_median_s if ttft is None else ttft.median,
                ttft_sigma=state.ttft_sigma if ttft is None else ttft.sigma,
                tokens_per_s=state.tokens_per_s if event.tokens_per_s is None else event.tokens_per_s,
                fault_on_failure=state.fault_on_failure,
            )
        )
        price_before = self.price
        if event.price is not None:
            self.price = event.price
        if event.for_s is not None:
            changed, priced = self._behaviour, self.price

            def restore() -> None:
                if self._behaviour is changed:
                    self._behaviour = before
                if self.price is priced:
                    self.price = price_before

            asyncio.get_running_loop().call_later(event.for_s, restore)

    def _later(self, for_s: float, play: Play) -> None:
        """Open the port again when a listener's fault is over, unless something else was switched meanwhile."""

        async def reopen() -> None:
            await asyncio.sleep(for_s)
            if self._switched is play:
                await self.switch(None)

        task = asyncio.get_running_loop().create_task(reopen())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _align(self) -> None:
        """Make way for a connection fault that is next in the script: it needs a new connection to happen to."""
        if self._script and (head := self._script[0]) is not None and head.fault in CONNECTION_FAULTS:
            self.close_idle()

    # --- connections ---------------------------------------------------------------------------------------------

    def _accept(self) -> asyncio.BaseProtocol:
        """Return what a new connection meets."""
        self.log.connections += 1
        fault = self._draw_for_connection()
        if fault is not None:
            self.log.faults[fault] = self.log.faults.get(fault, 0) + 1
            return Slammed() if fault is Fault.RESET_ON_ACCEPT else Garbled()
        connection = Connection(self)
        connection.number = self.log.connections
        return connection if self._tls is None else TlsDoor(self._tls, connection, self._tasks)

    def _draw_for_connection(self) -> Fault | None:
        if self._script:
            head = self._script[0]
            if head is not None and head.fault in CONNECTION_FAULTS:
                self._script.popleft()
                return head.fault
            return None
        switched = self._get_switched()
        return switched.fault if switched is not None and switched.fault in CONNECTION_FAULTS else None

    def on_connect(self, connection: Connection) -> None:
        """Note a connection."""
        self._connections.add(connection)
        self.log.open_connections += 1

    def on_disconnect(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self.log.open_connections -= 1

    def now_s(self) -> float:
        """Return seconds since the world's clock was started."""
        return self._clock()

    # --- requests ------------------------------------------------------------------------------------------------

    def on_request(self, received: Received) -> Performance:
        """Log a request and return its reply."""
        path = received.path.partition("?")[0]
        api = self._get_api(path)
        if received.method != "POST":
            return self._on_get(received, path)
        log = self.log
        log.requests += 1
        log.in_flight += 1
        received.number = log.requests
        log.kept.append(received)
        state = self._behaviour.at(received.at_s)
        play = self._draw(state)
        try:
            exchange = self._understand(received, api, state, play)
        except Refusal as refusal:
            if play is None:
                return perform_refusal(refusal, api=self._get_error_api(api))
            # A fault needs no understanding: a broken endpoint fails broken requests too.
            exchange = Exchange(0.0, 0.0, 0, body=b"{}", api=self._get_error_api(api))
        if play is not None:
            if get_skip(exchange.api, play.fault, exchange.events is not None) is None:
                received.fault = play.fault
                log.faults[play.fault] = log.faults.get(play.fault, 0) + 1
            else:
                received.skipped = play.fault
                log.skipped[play.fault] = log.skipped.get(play.fault, 0) + 1
        return perform(exchange, play)

    def _on_get(self, received: Received, path: str) -> Performance:
        """Return the list of models, which is all that can be got."""
        api = self._get_error_api(None)
        if received.method != "GET" or path != "/v1/models":
            return perform_refusal(_unknown_path(received), api=api)
        if not self._is_authorized(received, api):
            return perform_refusal(_wrong_key(), api=api)
        models = bodies_messages.get_models(self.spec) if api is MESSAGES else bodies.get_models(self.spec, self.price)
        return Performance([(0.0, framing.get_response(200, models))])

    def _get_api(self, path: str) -> Api | None:
        """Return the API at a path; None where this endpoint has none there."""
        api = APIS.get(path)
        return api if api is not None and api.name in self.spec.apis else None

    def _get_error_api(self, api: Api | None) -> Api:
        """Return the API errors are told in; at a path there is none, that of the endpoint's maker."""
        if api is not None:
            return api
        return MESSAGES if self.spec.apis == ("messages",) else CHAT

    def on_played(self, received: Received, left: bool) -> None:
        """Note how a request ended."""
        if received.number == 0:
            return
        self.log.in_flight -= 1
        if left:
            self.log.cancelled += 1
            received.left_at_s = self._clock()
        else:
            self.log.answered += 1
            received.answered_at_s = self._clock()
        if self._idle_waiters and self.log.in_flight == 0:
            for waiter in self._idle_waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._idle_waiters.clear()
        if self._script:
            # Not before the reply has ended: its own connection is idle only then.
            asyncio.get_running_loop().call_soon(self._align)

    def _get_switched(self) -> Play | None:
        if self._switched is not None and self._switched_until_s < math.inf and self._switched_until_s <= _now_s():
            self._switched = None
        return self._switched

    def _draw(self, state: State) -> Play | None:
        """Decide what a request meets."""
        if self._script:
            return self._script.popleft()
        if self._switched is not None and (play := self._get_switched()) is not None:
            if play.seconds is None and play.fault in (Fault.RATE_LIMIT, Fault.RATE_LIMIT_DATE):
                left_s = self._switched_until_s - _now_s()
                if left_s < math.inf:
                    return dataclasses.replace(play, seconds=left_s)
            return play
        if state.success < 1.0 and self.rng.random() >= state.success:
            return Play(state.fault_on_failure)
        if self._chances:
            left = self.rng.random()
            for fault, chance in self._chances:
                left -= chance
                if left < 0.0:
                    return Play(fault)
        return None

    def _is_authorized(self, received: Received, api: Api) -> bool:
        """Tell whether the key is right: a bearer's, or Anthropic's own header, which is all that Anthropic takes."""
        if self.spec.key is None:
            return True
        key = self.spec.key.encode()
        given = {name.lower(): value for name, value in received.raw_headers}
        if api is MESSAGES and given.get(b"x-api-key") == key:
            return True
        return self.spec.apis != ("messages",) and given.get(b"authorization") == b"Bearer " + key

    def _understand(self, received: Received, api: Api | None, state: State, play: Play | None) -> Exchange:
        """Return what the answer would be; raises ``Refusal`` where there is none."""
        spec = self.spec
        if api is None:
            raise _unknown_path(received)
        if spec.key is not None and not self._is_authorized(received, api):
            raise _wrong_key()
        if api is MESSAGES and "anthropic-version" not in received.headers:
            raise Refusal(400, "anthropic-version: header is required", kind="invalid_request_error", code=None)
        fault = None if play is None else play.fault
        factor = (play.factor or OVER_BILLING_FACTOR) if play is not None and fault is Fault.OVER_BILLING else 1.0
        body = received.body
        try:
            if api is EMBEDDINGS:
                return self._embed(body, state, None if fault is Fault.NO_USAGE else factor)
            ask = api.decode(body)
            self._check_model(ask.model)
            if isinstance(ask, CompletionAsk):
                answer = compute_completion(spec, ask)
            else:
                answer = compute_chat(spec, ask, violate=fault is Fault.SCHEMA_VIOLATION)
            if spec.lacks:
                self._check_parameters(body)
        except msgspec.DecodeError as error:
            raise Refusal(400, f"Invalid request: {error}", kind="invalid_request_error", code=None) from None
        return self._exchange(api, ask, answer, state, play, body, factor)

    def _exchange(
        self, api: Api, ask: Ask, answer: Answer, state: State, play: Play | None, body: bytes, factor: float
    ) -> Exchange:
        now_s = time.time()
        label = bodies.Label(
            self.log.requests, int(now_s), msgspec.json.encode(ask.model or self.spec.model or "sim-model")
        )
        usage: bytes | None = None
        if play is None or play.fault is not Fault.NO_USAGE or get_skip(api, play.fault, bool(ask.stream)) is not None:
            usage = api.get_usage(answer, factor)
        ttft_s = state.ttft_median_s
        if ttft_s > 0.0 and state.ttft_sigma > 0.0:
            ttft_s = self.rng.lognormvariate(math.log(ttft_s), state.ttft_sigma)
        exchange = Exchange(ttft_s, 1.0 / state.tokens_per_s if state.tokens_per_s else 0.0, len(answer.pieces))
        exchange.api = api
        if ask.stream:
            exchange.events = api.get_events(answer, label, usage if api.tells_usage or ask.wants_usage() else None)
        else:
            exchange.body = api.get_body(answer, label, usage)
        if play is not None:
            exchange.now_s = now_s
            exchange.rng = self.rng
            exchange.parameters = decode_keys(body)
        return exchange

    def _embed(self, body: bytes, state: State, factor: float | None) -> Exchange:
        ask = decode_embedding(body)
        self._check_model(ask.model)
        dimensions = min(max(ask.dimensions or self.spec.embedding_dimensions, 1), 8192)
        made = bodies.get_embeddings(ask.texts(), ask.model, dimensions, ask.encoding_format == "base64", factor)
        return Exchange(
            state.ttft_median_s,
            0.0,
            1,
            body=made,
            api=EMBEDDINGS,
            parameters=decode_keys(body),
            now_s=time.time(),
            rng=self.rng,
        )

    def _check_model(self, model: str) -> None:
        if self.spec.model is not None and model != self.spec.model:
            message = f"The model '{model}' does not exist or you do not have access to it."
            raise Refusal(404, message, kind="invalid_request_error", code="model_not_found", param="model")

    def _check_parameters(self, body: bytes) -> None:
        for name in decode_keys(body):
            if name in self.spec.lacks:
                raise unsupported_refusal(name)


def _now_s() -> float:
    """Return the loop's time: what is switched for a time outlives a restart of the world's clock."""
    return asyncio.get_running_loop().time()


def _state_of(spec: EndpointSpec) -> State:
    return State(spec.success, spec.ttft.median, spec.ttft.sigma, spec.tokens_per_s, spec.fault_on_failure)


def _wrong_key() -> Refusal:
    return Refusal(401, "Incorrect API key provided.", kind="invalid_request_error", code="invalid_api_key")


def _unknown_path(received: Received) -> Refusal:
    message = f"Unknown request URL: {received.method} {received.path}."
    return Refusal(404, message, kind="invalid_request_error", code="unknown_url")
