"""How `doctor` speaks to an endpoint: bounded in time and size, and in words when it cannot.

It connects the way the gateway does: the system's trusted certificates, no proxy, no redirects followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

import httpx
import msgspec

from providerrank.wire.dialect import Dialect, Reader
from providerrank.wire.errors import Malformed
from providerrank.wire.sse import DONE

Json: TypeAlias = object
"""Decoded JSON of an endpoint: anything at all."""

MAX_BYTES = 4 << 20
"""Of one answer: lists of models run to hundreds of kilobytes, answers to our questions to a few."""

SAID_CHARACTERS = 160
"""Of an endpoint's own words, in a message of ours."""


class Unreachable(Exception):
    """No answer at all; the message says why and what to look at."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer."""

    status: int
    headers: httpx.Headers
    body: bytes
    took_s: float

    def get_json(self) -> Json:
        """Decode the body; None when it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None


@dataclass(slots=True)
class Streamed:
    """What was seen of one stream."""

    status: int = 0
    content_type: str = ""
    body: bytes = b""
    """Of an answer that is no stream."""
    events: list[Json] = field(default_factory=list)
    first_content_s: float | None = None
    done: bool = False


class DoctorClient:
    """Asks one endpoint."""

    def __init__(
        self,
        base_url: str,
        key: str | None,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        """``dialect``: what the endpoint is asked in, where it does not speak chat."""
        headers = {"User-Agent": "providerrank-doctor"}
        if key is not None and dialect is None:
            headers["Authorization"] = f"Bearer {key}"
        elif key is not None:
            headers["x-api-key"] = key
        if dialect is not None:
            headers.update({name.decode(): value.decode() for name, value in dialect.headers if value is not None})
        self._dialect = dialect
        self._key = key
        self._timeout_s = timeout_s
        self._base_url = base_url.rstrip("/")
        self._host = httpx.URL(base_url).host
        self._http = httpx.AsyncClient(
            headers=headers, timeout=timeout_s, verify=tls or ssl.create_default_context(), trust_env=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(self, path: str) -> Reply:
        """Ask for a document. Raises ``Unreachable``."""
        return await self._ask("GET", path, None)

    async def chat(self, body: dict[str, Json]) -> Reply:
        """Ask for a chat completion. Raises ``Unreachable``."""
        if self._dialect is None:
            return await self._ask("POST", "/chat/completions", body)
        reply = await self._ask("POST", self._dialect.path, _translate(self._dialect, body))
        if reply.status == 200:
            with contextlib.suppress(Malformed):
                return dataclasses.replace(reply, body=self._dialect.to_chat_reply(reply.body, 0))
        return reply

    async def stream(self, body: dict[str, Json]) -> Streamed:
        """Ask for a chat completion and read the events that come back, to the end. Raises ``Unreachable``."""
        if self._dialect is None:
            return await self._stream("/chat/completions", body, None)
        return await self._stream(self._dialect.path, _translate(self._dialect, body), self._dialect.make_reader(0))

    async def _stream(self, path: str, body: Json, reader: Reader | None) -> Streamed:
        seen = Streamed()
        begun_s = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s), self._open("POST", path, body) as response:
                seen.status = response.status_code
                seen.content_type = response.headers.get("content-type", "")
                if seen.status != 200 or "event-stream" not in seen.content_type:
                    seen.body = await _read(response)
                    return seen
                async for line in response.aiter_lines():
                    _take_line(seen, line, begun_s, reader)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unreachable(self._explain(error)) from None
        return seen

    async def _ask(self, method: str, path: str, body: Json) -> Reply:
        begun_s = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s), self._open(method, path, body) as response:
                data = await _read(response)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unreachable(self._explain(error)) from None
        return Reply(response.status_code, response.headers, data, time.monotonic() - begun_s)

    def redact(self, text: str) -> str:
        """Make an endpoint's words fit to print: on one line, not long, and without the key."""
        if self._key:
            text = text.replace(self._key, "[key]")
        text = " ".join(text.split())
        shown = "".join(character if character.isprintable() else "?" for character in text)
        return shown if len(shown) <= SAID_CHARACTERS else shown[:SAID_CHARACTERS] + "…"

    def _open(self, method: str, path: str, body: Json) -> AbstractAsyncContextManager[httpx.Response]:
        return self._http.stream(method, self._base_url + path, json=body)

    def _explain(self, error: Exception) -> str:
        """Say why there is no answer, and what to look at."""
        if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
            return self._explain_connect(error)
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            return f"gave no complete answer within {self._timeout_s:g} s: see the provider's status page"
        if isinstance(error, httpx.RemoteProtocolError):
            return "broke the connection off, or does not speak HTTP: is the port in base_url right?"
        return f"could not be asked ({self.redact(str(error)) or type(error).__name__}): check base_url"

    def _explain_connect(self, error: Exception) -> str:
        causes = list(_get_causes(error))
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return f"the name {self._host} is not known: check base_url, or this machine's DNS"
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"its certificate is not accepted ({cause.verify_message}): check the host in base_url"
            if isinstance(cause, ssl.SSLError):
                return "it does not speak TLS on this port: should base_url begin with http://, or have another port?"
        if isinstance(error, httpx.ConnectTimeout):
            return f"no connection within {self._timeout_s:g} s: check base_url, or a firewall on the way"
        if any(isinstance(cause, ConnectionRefusedError) for cause in causes) or "refused" in str(error).lower():
            return "the connection is refused: is it running, and is the port in base_url right?"
        return f"no connection ({self.redact(str(error))}): check base_url and the network"


async def _read(response: httpx.Response) -> bytes:
    data = b""
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > MAX_BYTES:
            break
    return data


def _take_line(seen: Streamed, line: str, begun_s: float, reader: Reader | None) -> None:
    """Take one line of an event stream; what is not data, or not JSON, is passed over."""
    if not line.startswith("data:"):
        return
    payload = line.removeprefix("data:").strip().encode()
    try:
        chunks = [payload] if reader is None else reader.read(payload)
    except Malformed:
        return
    for chunk in chunks:
        if chunk == DONE:
            seen.done = True
            return
        try:
            event = msgspec.json.decode(chunk)
        except msgspec.DecodeError:
            continue
        seen.events.append(event)
        if seen.first_content_s is None and is_content(event):
            seen.first_content_s = time.monotonic() - begun_s


def _translate(dialect: Dialect, body: dict[str, Json]) -> Json:
    """A chat request in another dialect; what it has no words for is left out, since questions can do without."""
    assert dialect.from_chat is not None
    fields, _ = dialect.from_chat({name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()})
    return msgspec.json.decode(msgspec.json.encode(fields))


def is_content(event: Json) -> bool:
    """Whether an event of a stream brings something of the answer itself."""
    delta = dig(event, "choices", 0, "delta")
    return isinstance(delta, dict) and any(
        delta.get(name) for name in ("content", "reasoning_content", "reasoning", "tool_calls")
    )


def dig(value: Json, *path: str | int) -> Json:
    """Follow keys and indices into decoded JSON; None where they lead nowhere."""
    for part in path:
        if isinstance(part, str) and isinstance(value, dict):
            value = value.get(part)
        elif isinstance(part, int) and isinstance(value, list) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def _get_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
