"""Streams of an endpoint, written, and a client's stream, read."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from providerrank.gateway.relay import Relay
from providerrank.wire.intake import CHAT_API, TEXT_API, Intake
from providerrank.wire.request import read_request
from providerrank.wire.sse import DONE, EventReader, write_event
from tests.playbook import endpoint, prefiller

PLAIN = endpoint("plain")
PREFILLER = prefiller("prefiller")
END = write_event(DONE)


def ask(extra: str = "") -> Intake:
    """A streamed chat."""
    body = f'{{"model":"m","stream":true,"messages":[{{"role":"user","content":"hi"}}]{"," if extra else ""}{extra}}}'
    return read_request(CHAT_API, body.encode())


def ask_text(prompt: str = '"once"') -> Intake:
    """A streamed completion."""
    return read_request(TEXT_API, f'{{"model":"m","stream":true,"prompt":{prompt}}}'.encode())


def event(stream_id: str = "a", /, *, finish: str | None = None, **delta: object) -> bytes:
    """One event of a chat."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return write_event(msgspec.json.encode({"id": stream_id, "object": "chat.completion.chunk", "choices": [choice]}))


def role(stream_id: str = "a") -> bytes:
    """The event most endpoints begin with."""
    return event(stream_id, role="assistant", content="")


def stop(stream_id: str = "a", finish: str = "stop") -> bytes:
    """The event that says why the answer is over."""
    return event(stream_id, finish=finish)


def text_event(text: str, finish: str | None = None) -> bytes:
    """One event of a completion."""
    choice = {"index": 0, "text": text, "finish_reason": finish}
    return write_event(msgspec.json.encode({"id": "a", "choices": [choice]}))


def usage_event(prompt: int, completion: int) -> bytes:
    """The event that ends a stream whose usage was asked for."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return write_event(msgspec.json.encode({"id": "a", "choices": [], "usage": usage}))


def contents(stream_id: str, pieces: Iterable[str]) -> bytes:
    """Content, one event a piece."""
    return b"".join(event(stream_id, content=piece) for piece in pieces)


class Client:
    """What a client of OpenAI's API makes of what it is sent."""

    def __init__(self) -> None:
        self._reader = EventReader()
        self.events: list[dict[str, object]] = []
        self.done = 0
        self.content = ""
        self.reasoning = ""
        self.text = ""
        self.finishes: list[str] = []
        self.usages: list[dict[str, int]] = []
        self.ids: set[str] = set()

    def take(self, data: bytes) -> None:
        """Bytes of the stream."""
        for payload in self._reader.feed(data):
            if payload == DONE:
                self.done += 1
                continue
            assert not self.done, "something after the end"
            read = msgspec.json.decode(payload)
            self.events.append(read)
            if "id" in read:
                self.ids.add(read["id"])
            if read.get("usage"):
                self.usages.append(read["usage"])
            for choice in read.get("choices") or ():
                delta = choice.get("delta") or {}
                self.content += delta.get("content") or ""
                self.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
                self.text += choice.get("text") or ""
                if choice.get("finish_reason"):
                    self.finishes.append(choice["finish_reason"])


def relay_all(relay: Relay, client: Client, data: bytes) -> None:
    """Bytes of an endpoint to the client, as far as they may go."""
    relay.feed(data)
    if relay.delivered_content:
        client.take(relay.take_output())
