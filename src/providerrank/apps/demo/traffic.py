"""The demo's client: the official `openai` SDK, several kinds of question, and no mercy.

The SDK's own retries are off, so whatever fails shows. Every answer is checked to be whole: content, a
finish reason, and for a stream the closing ``[DONE]``. The SDK does not tell whether ``[DONE]`` came or
the connection just ended, so the bytes are watched on their way into it. An answer that was asked for in
JSON must parse and have the asked keys: a splice that lost or doubled a byte would not.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx2
import openai
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from openai.types.shared_params import ResponseFormatJSONSchema
from typing_extensions import override

from providerrank.apps.demo.summary import Failure, Tally

WORKERS = 3
"""Requests under way at once: the machine may have two cores and every endpoint computes on one thread."""
MAX_PAUSE_S = 0.25
REQUEST_TIMEOUT_S = 60.0
DONE = b"data: [DONE]"
REASON_CHARS = 600
"""A gateway that gives up names every attempt; more than this is no help."""

CITIES = ("Paris", "Tokyo", "Cairo", "Lima", "Oslo", "Rome", "Delhi", "Quito", "Berlin", "Ottawa")
THINGS = (
    "the sea",
    "a lighthouse",
    "a clever fox",
    "the first snow",
    "an old train",
    "a garden",
    "the moon",
    "a bridge",
)
LISTS = ("colors", "fruits", "planets", "animals", "rivers", "tools", "trees", "spices")
OPENINGS = (
    "The capital of Spain is",
    "Water boils at",
    "The largest planet is",
    "In winter the lake",
    "One plus one is",
)
CITY_SCHEMA: ResponseFormatJSONSchema = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 12},
                "country": {"type": "string", "maxLength": 12},
            },
            "required": ["city", "country"],
            "additionalProperties": False,
        },
    },
}


class Kind(enum.StrEnum):
    """What is asked, and through which door."""

    CHAT = "chat"
    STORY = "story, streamed"
    LIST = "list, streamed"
    JSON = "json"
    JSON_STREAM = "json, streamed"
    TEXT = "text completion"


SHARES = {Kind.CHAT: 3, Kind.STORY: 5, Kind.LIST: 3, Kind.JSON: 1, Kind.JSON_STREAM: 2, Kind.TEXT: 1}
"""Mostly streams, as most traffic of chat applications is: and a stream is what can break in the middle."""


class IncompleteAnswerError(Exception):
    """An answer arrived that is not whole; ``str()`` says what is missing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    text: str
    endpoint_id: str
    ttft_us: int | None


class _Tap(httpx2.AsyncByteStream):
    """Passes a body on and remembers its end."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner
        self.tail = b""

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._inner:
            self.tail = (self.tail + data)[-256:]
            yield data

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


async def _watch_body(response: httpx2.Response) -> None:
    """Have the body pass through a tap, found again in the response's extensions."""
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = response.extensions["tap"] = _Tap(response.stream)


class Traffic:
    """Asks until told to stop and enters what came of it in a tally."""

    def __init__(self, base_url: str, model: str, tally: Tally, rng: random.Random, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._model = model
        self._tally = tally
        self._rng = rng
        self._clock = clock
        self._began_s = clock()
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key="demo",
            max_retries=0,
            timeout=REQUEST_TIMEOUT_S,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_watch_body]}),
        )

    async def run(self, stop: asyncio.Event, workers: int = WORKERS) -> None:
        """Keep ``workers`` questions going until ``stop`` is set, and let the last ones be answered."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(stop))

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    async def ask(self, kind: Kind) -> Answer:
        """Ask one question; raises openai.OpenAIError or IncompleteAnswerError where the answer is not whole."""
        match kind:
            case Kind.CHAT:
                answer = await self._chat(f"What is the capital of the country of {self._pick(CITIES)}?", 24)
            case Kind.STORY:
                answer = await self._stream(f"Tell me a short story about {self._pick(THINGS)}.", 48)
            case Kind.LIST:
                answer = await self._stream(f"List five {self._pick(LISTS)}.", 40)
            case Kind.JSON:
                answer = await self._chat(f"Describe {self._pick(CITIES)} as JSON.", 48, CITY_SCHEMA)
            case Kind.JSON_STREAM:
                answer = await self._stream(f"Describe {self._pick(CITIES)} as JSON.", 48, CITY_SCHEMA)
            case _:
                answer = await self._complete(self._pick(OPENINGS), 16)
        if kind in (Kind.JSON, Kind.JSON_STREAM):
            _check_city(answer.text)
        return answer

    def _pick(self, choices: tuple[str, ...]) -> str:
        return self._rng.choice(choices)

    async def _work(self, stop: asyncio.Event) -> None:
        kinds, shares = list(SHARES), list(SHARES.values())
        while not stop.is_set():
            kind = self._rng.choices(kinds, shares)[0]
            try:
                answer = await self.ask(kind)
            except (openai.OpenAIError, httpx2.HTTPError, ValueError, IncompleteAnswerError) as error:
                reason = f"{type(error).__name__}: {error}"[:REASON_CHARS]
                self._tally.add_failure(Failure(round(self._clock() - self._began_s, 2), kind, reason))
            else:
                self._tally.add_answer(answer.endpoint_id, answer.ttft_us)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rng.uniform(0, MAX_PAUSE_S)):
                    await stop.wait()

    async def _chat(self, prompt: str, max_tokens: int, schema: ResponseFormatJSONSchema | None = None) -> Answer:
        raw = await self._client.chat.completions.with_raw_response.create(
            model=self._model,
            messages=_to_messages(prompt),
            max_tokens=max_tokens,
            temperature=0,
            response_format=openai.omit if schema is None else schema,
        )
        completion: object = raw.parse()  # the SDK returns text as it is where the answer is no JSON
        if not isinstance(completion, ChatCompletion):
            raise IncompleteAnswerError("not a chat completion")
        choices = completion.choices
        if not choices or not choices[0].message.content or not choices[0].finish_reason:
            raise IncompleteAnswerError("no content or no finish reason")
        return Answer(choices[0].message.content, _get_endpoint(raw.headers), None)

    async def _complete(self, prompt: str, max_tokens: int) -> Answer:
        raw = await self._client.completions.with_raw_response.create(
            model=self._model, prompt=prompt, max_tokens=max_tokens, temperature=0
        )
        completion: object = raw.parse()
        if not isinstance(completion, Completion):
            raise IncompleteAnswerError("not a completion")
        choices = completion.choices
        if not choices or not choices[0].text or not choices[0].finish_reason:
            raise IncompleteAnswerError("no text or no finish reason")
        return Answer(choices[0].text, _get_endpoint(raw.headers), None)

    async def _stream(self, prompt: str, max_tokens: int, schema: ResponseFormatJSONSchema | None = None) -> Answer:
        asked_s = self._clock()
        first_s: float | None = None
        pieces: list[str] = []
        finish_reason: str | None = None
        stream = await self._client.chat.completions.create(
            model=self._model,
            messages=_to_messages(prompt),
            max_tokens=max_tokens,
            temperature=0,
            stream=True,
            response_format=openai.omit if schema is None else schema,
        )
        async for event in stream:
            for choice in event.choices:
                if choice.delta.content:
                    first_s = self._clock() if first_s is None else first_s
                    pieces.append(choice.delta.content)
                finish_reason = choice.finish_reason or finish_reason
        tap = stream.response.extensions.get("tap")
        if first_s is None:
            raise IncompleteAnswerError("the stream brought no content")
        if finish_reason is None:
            raise IncompleteAnswerError("the stream ended without a finish reason")
        if not isinstance(tap, _Tap) or DONE not in tap.tail:
            raise IncompleteAnswerError("the stream ended without [DONE]")
        ttft_us = round((first_s - asked_s) * 1_000_000)
        return Answer("".join(pieces), _get_endpoint(stream.response.headers), ttft_us)


def _to_messages(prompt: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": prompt}]


def _get_endpoint(headers: object) -> str:
    """The endpoint a response's headers name; asked of a gateway, there always is one."""
    get = getattr(headers, "get", None)  # httpx2.Headers and the SDK's own type both have it
    return str(get("x-providerrank-endpoint", "unknown")) if callable(get) else "unknown"


def _check_city(text: str) -> None:
    """Raise IncompleteAnswerError unless ``text`` is what CITY_SCHEMA asks for."""
    try:
        city = json.loads(text)
    except ValueError:
        raise IncompleteAnswerError(f"not JSON: {text!r}") from None
    if not isinstance(city, dict) or set(city) != {"city", "country"}:
        raise IncompleteAnswerError(f"not the JSON that was asked for: {text!r}")
