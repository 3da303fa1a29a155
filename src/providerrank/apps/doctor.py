"""Reaches every endpoint of a configuration and says what is wrong with it, and what to do.

For each endpoint, in this order: is it there (name, connection, certificate), does it take the key, does it know
the model, does it answer, report usage, stream, call tools and keep to a JSON schema. What makes it
useless is a failure; what only narrows its use is a warning. Endpoints are examined side by side, a few
at a time; one endpoint's requests follow each other, so that they do not rate-limit themselves. The
questions are tiny: all of them together cost some hundred tokens.

No message repeats a key, not even where an endpoint's own words do.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import re
import ssl
from collections.abc import Awaitable
from typing import Literal, TypeVar

import msgspec

from providerrank.apps.compose import build_endpoint
from providerrank.apps.config import EndpointTable, Loaded, show
from providerrank.apps.doctor_client import DoctorClient, Json, Reply, Streamed, Unreachable, dig
from providerrank.wire.messages import MESSAGES

T = TypeVar("T")

MAX_AT_ONCE = 8
"""Endpoints examined side by side: enough to be quick, few enough that slow ones are not our own doing."""

TIMEOUT_S = 30.0
"""For one question: a cold model may take this long to its first token."""

TOKENS = 32
"""Enough for a word, a tool call or a small object; also for a model that thinks first to be cut off in peace."""

UNKNOWN_MODEL = re.compile(rb"model_not_found|(no such|unknown|invalid) model|model[^.]{0,80}(not |unknown|invalid)")
"""How a 400 says that it is about the model's name; most providers say 404."""

Status = Literal["ok", "warning", "failed", "skipped"]
NAMES = ("reach", "key", "model", "chat", "usage", "stream", "tools", "json_schema")

_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Check(msgspec.Struct, frozen=True):
    """One thing looked at."""

    name: str
    status: Status
    says: str


class Diagnosis(msgspec.Struct, frozen=True):
    """One endpoint: usable unless a check failed."""

    endpoint: str
    usable: bool
    checks: list[Check]


async def examine(loaded: Loaded, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None) -> list[Diagnosis]:
    """Examine every endpoint, a few at a time; the answers are in the configuration's order."""
    free = asyncio.Semaphore(MAX_AT_ONCE)
    tls = tls or ssl.create_default_context()

    async def one(endpoint: EndpointTable) -> Diagnosis:
        async with free:
            dialect = MESSAGES if endpoint.dialect == "anthropic" else None
            client = DoctorClient(endpoint.base_url, loaded.reveal(endpoint.key), timeout_s, tls, dialect)
            try:
                return await _Examination(endpoint, client).run()
            finally:
                await client.close()

    return list(await asyncio.gather(*(one(endpoint) for endpoint in loaded.config.endpoints)))


class _Stop(Exception):
    """A check failed after which the others mean nothing."""


class _Examination:
    """One endpoint's checks, in order."""

    def __init__(self, endpoint: EndpointTable, client: DoctorClient) -> None:
        self._endpoint = endpoint
        self._client = client
        self._model = endpoint.upstream_model or endpoint.model
        self._features = build_endpoint(endpoint).features
        self._checks: dict[str, Check] = {}
        self._limit: dict[str, Json] = {"max_tokens": TOKENS}

    async def run(self) -> Diagnosis:
        """Look at everything that can still be looked at."""
        with contextlib.suppress(_Stop):
            known = await self._needed("reach", self._reach())
            await self._needed("chat", self._chat(known))
            await self._needed("stream", self._stream())
            for name, look in (("tools", self._tools), ("json_schema", self._json_schema)):
                try:
                    await look()
                except Unreachable as error:
                    self._say(name, "warning", str(error))
        for name in NAMES:
            if name not in self._checks:
                self._say(name, "skipped", "not looked at")
        checks = [self._checks[name] for name in NAMES]
        return Diagnosis(self._endpoint.id, all(check.status != "failed" for check in checks), checks)

    async def _needed(self, name: str, look: Awaitable[T]) -> T:
        """Look at something without which the endpoint is of no use."""
        try:
            return await look
        except Unreachable as error:
            raise self._fail(name, str(error)) from None

    def _say(self, name: str, status: Status, says: str) -> None:
        self._checks[name] = Check(name, status, says)

    def _fail(self, name: str, says: str) -> _Stop:
        self._say(name, "failed", says)
        return _Stop()

    def _get_words(self, body: bytes) -> str:
        """Return what an endpoint says of its own refusal, with a colon before it."""
        try:
            decoded: Json = msgspec.json.decode(body)
        except msgspec.DecodeError:
            decoded = None
        error = dig(decoded, "error")
        for said in (dig(error, "message"), error, dig(decoded, "message"), dig(decoded, "detail")):
            if isinstance(said, str) and said:
                return f': "{self._client.redact(said)}"'
        return ""

    async def _ask(self, **extra: Json) -> Reply:
        """Ask for a chat completion, with the other name of the limit where the usual one is refused."""
        reply = await self._client.chat(self._build(extra))
        if reply.status == 400 and b"max_completion_tokens" in reply.body:
            self._limit = {"max_completion_tokens": TOKENS}
            reply = await self._client.chat(self._build(extra))
        return reply

    def _build(self, extra: dict[str, Json]) -> dict[str, Json]:
        asked: dict[str, Json] = {
            "model": self._model,
            "messages": [{"role": "user", "content": "Which city is the capital of France?"}],
        }
        return {**asked, **self._limit, **extra}

    # ---- the checks --------------------------------------------------------------------------------------------

    async def _reach(self) -> list[str]:
        """Connect, and ask which models there are; returns their names, none where it does not tell."""
        reply = await self._client.get("/models")
        self._say("reach", "ok", f"answers in {reply.took_s * 1000:.0f} ms")
        if 300 <= reply.status < 400:
            where = self._client.redact(reply.headers.get("location", "another address"))
            raise self._fail("reach", f"redirects to {where}: write that address in base_url")
        if reply.status in {401, 403}:
            raise self._refused(reply.status, reply.body)
        listed = dig(reply.get_json(), "data")
        names = [dig(item, "id") for item in listed] if isinstance(listed, list) else []
        return [name for name in names if isinstance(name, str)]

    def _refused(self, status: int, body: bytes) -> _Stop:
        words = self._get_words(body)
        secret = self._endpoint.key
        if secret is None:
            return self._fail("key", f'wants a key ({status}): add key = "env:NAME" to this endpoint{words}')
        held = f"what {secret.variable} holds" if secret.variable else "the key in the file"
        return self._fail("key", f"refuses {held} ({status}): is it this provider's, and still valid?{words}")

    async def _chat(self, known: list[str]) -> None:
        """Ask a question, and find out about key, model, answer and usage from what comes back."""
        reply = await self._ask()
        self._judge_status(reply, known)
        has_key = self._endpoint.key is not None
        self._say("key", "ok", "accepted" if has_key else "none needed")
        self._say("model", "ok", f"knows {show(self._model)}")
        answer = reply.get_json()
        message = dig(answer, "choices", 0, "message")
        if not isinstance(message, dict):
            raise self._fail("chat", "answers 200 without a chat completion: is base_url the one of an OpenAI API?")
        self._say("chat", "ok", f"answers in {reply.took_s:.2f} s")
        if isinstance(dig(answer, "usage", "prompt_tokens"), int):
            self._say("usage", "ok", "reported")
        else:
            self._say("usage", "warning", "not reported: its costs will be estimated from bytes")

    def _judge_status(self, reply: Reply, known: list[str]) -> None:
        status, words = reply.status, self._get_words(reply.body)
        if status == 200:
            return
        if status in {401, 403}:
            raise self._refused(status, reply.body)
        if status == 402:
            raise self._fail("key", f"is accepted, but its account has no balance (402): top it up{words}")
        if status == 404 or (status in {400, 422} and UNKNOWN_MODEL.search(reply.body.lower())):
            raise self._fail("model", f"does not know {show(self._model)} ({status}): {self._suggest(known)}{words}")
        if status == 429:
            self._say("chat", "warning", f"is rate-limited just now (429): run doctor again in a while{words}")
            raise _Stop
        if status >= 500:
            raise self._fail("chat", f"answers {status}, trouble on its side: see the provider's status page{words}")
        raise self._fail("chat", f"refuses a plain question ({status}): check base_url and upstream_model{words}")

    def _suggest(self, known: list[str]) -> str:
        key = "upstream_model" if self._endpoint.upstream_model else "model, or give upstream_model"
        if not known:
            return f"check {key}, or base_url"
        # Names differ in case and in the folder before the slash more than in the rest.
        plain = {name.lower().rpartition("/")[2]: name for name in known}
        near = difflib.get_close_matches(self._model.lower().rpartition("/")[2], plain, 1, 0.4)
        if near:
            return f"write upstream_model = {show(plain[near[0]])}"
        return (
            f"it lists {', '.join(known[:3])} and {len(known)} in all"
            if len(known) > 3
            else f"it lists {', '.join(known)}"
        )

    async def _stream(self) -> None:
        """Ask for a stream: content, a reason to finish, the end of it, and usage at the end."""
        asked = self._build({"stream": True, "stream_options": {"include_usage": True}})
        seen = await self._client.stream(asked)
        if seen.status in {400, 422} and b"stream_options" in seen.body:
            seen = await self._client.stream(self._build({"stream": True}))
        problem = self._find_stream_problem(seen)
        if problem is not None:
            raise self._fail("stream", problem)
        says = f"first token after {seen.first_content_s or 0:.2f} s"
        if not any(isinstance(dig(event, "usage", "prompt_tokens"), int) for event in seen.events):
            self._say("stream", "warning", f"{says}, without usage: the cost of streams will be estimated from bytes")
        elif not seen.done:
            self._say("stream", "warning", f"{says}, without [DONE] at the end: the gateway supplies it")
        else:
            self._say("stream", "ok", says)

    def _find_stream_problem(self, seen: Streamed) -> str | None:
        if seen.status == 429:
            return "is rate-limited just now (429): run doctor again in a while"
        if seen.status != 200:
            return f"refuses to stream ({seen.status}): clients will expect it{self._get_words(seen.body)}"
        if "event-stream" not in seen.content_type:
            return f"answers a stream with {show(seen.content_type or 'no content type')}: it cannot stream"
        finished = any(dig(event, "choices", 0, "finish_reason") for event in seen.events)
        if not finished and not seen.done:
            return "ends its stream before the answer is finished: see the provider's status page"
        if seen.first_content_s is None and not finished:
            return "streams nothing: see the provider's status page"
        return None

    async def _tools(self) -> None:
        if "tools" not in self._features:
            self._say("tools", "skipped", "not among its features")
            return
        reply = await self._ask(tools=[_TOOL], tool_choice={"type": "function", "function": {"name": "get_weather"}})
        if reply.status == 200 and dig(reply.get_json(), "choices", 0, "message", "tool_calls"):
            self._say("tools", "ok", "calls a tool")
        elif reply.status == 200:
            self._say("tools", "warning", f"answers without the call it was told to make: {self._without('tools')}")
        else:
            self._say(
                "tools", "warning", f"{self._refuses(reply)}: {self._without('tools')}{self._get_words(reply.body)}"
            )

    async def _json_schema(self) -> None:
        if "json_schema" not in self._features:
            self._say("json_schema", "skipped", "not among its features")
            return
        reply = await self._ask(response_format=_SCHEMA)
        name, remedy = "json_schema", self._without("json_schema")
        if reply.status != 200:
            self._say(name, "warning", f"{self._refuses(reply)}: {remedy}{self._get_words(reply.body)}")
            return
        content = dig(reply.get_json(), "choices", 0, "message", "content")
        try:
            answer: Json = msgspec.json.decode(content if isinstance(content, str) else "")
        except msgspec.DecodeError:
            answer = None
        if isinstance(answer, dict) and set(answer) == {"city"} and isinstance(answer["city"], str):
            self._say(name, "ok", "keeps to a schema")
        else:
            self._say(name, "warning", f"does not keep to the schema it was given: {remedy}")

    def _refuses(self, reply: Reply) -> str:
        return "is rate-limited just now (429)" if reply.status == 429 else f"refuses it ({reply.status})"

    def _without(self, feature: str) -> str:
        """Say how to keep requests that need a feature away from this endpoint."""
        if self._endpoint.features is not None:
            return f'remove "{feature}" from its features'
        rest = ", ".join(f'"{name}"' for name in sorted(self._features - {feature}))
        return f"add features = [{rest}]"
