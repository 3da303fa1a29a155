"""Every API an endpoint can speak: how it reads what is asked, how it writes what is said, how it fails.

A new one is an ``Api`` here. All of them read into the same ask, so that one thing asked in several is answered with
one text, and all are written in the same kinds of events, so that every fault of a stream can be played in each.
Where a fault has no meaning in an API, ``get_skip`` says why; the request is then answered without it and the
endpoint's log counts it as skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from providerrank.sim import bodies, bodies_messages, bodies_responses
from providerrank.sim.answers import Answer, Refusal
from providerrank.sim.asks import ChatAsk, CompletionAsk, decode_chat, decode_completion
from providerrank.sim.asks_messages import decode_messages
from providerrank.sim.asks_responses import decode_responses
from providerrank.sim.bodies import Events, Label
from providerrank.sim.faults import ON_PLAIN_ANSWER, STREAM_FAULTS, Fault
from providerrank.sim.spec import ApiName


def _decode_nothing(body: bytes) -> ChatAsk:
    raise msgspec.DecodeError("embeddings are not asked for in words")


@dataclass(frozen=True, slots=True)
class Api:
    """One API, as an endpoint speaks it."""

    name: ApiName
    path: str
    decode: Callable[[bytes], ChatAsk | CompletionAsk]
    """Raises ``msgspec.DecodeError`` or ``Refusal``."""
    get_usage: Callable[[Answer, float], bytes] = bodies.get_usage
    get_body: Callable[[Answer, Label, bytes | None], bytes] = bodies.get_body
    get_events: Callable[[Answer, Label, bytes | None], Events] = bodies.get_events
    get_error: Callable[[Refusal], bytes] = bodies.get_error
    tells_usage: bool = False
    """A stream tells its usage whether it was asked to or not."""
    no_meaning: tuple[tuple[Fault, str], ...] = ()
    """Faults it has no place for, and why."""


CHAT = Api("chat", "/v1/chat/completions", decode_chat)
COMPLETIONS = Api(
    "completions",
    "/v1/completions",
    decode_completion,
    no_meaning=((Fault.SCHEMA_VIOLATION, "a completion follows no schema"),),
)
EMBEDDINGS = Api(
    "embeddings",
    "/v1/embeddings",
    _decode_nothing,
    no_meaning=((Fault.SCHEMA_VIOLATION, "an embedding follows no schema"),),
)
RESPONSES = Api(
    "responses",
    "/v1/responses",
    decode_responses,
    bodies_responses.get_usage,
    bodies_responses.get_body,
    bodies_responses.get_events,
    tells_usage=True,
    no_meaning=((Fault.NO_DONE, "one event, response.completed, tells both why it is over and that it is"),),
)
MESSAGES = Api(
    "messages",
    "/v1/messages",
    decode_messages,
    bodies_messages.get_usage,
    bodies_messages.get_body,
    bodies_messages.get_events,
    bodies_messages.get_error,
    tells_usage=True,
    no_meaning=((Fault.NO_USAGE, "usage is a part of every message: without it there is none"),),
)

APIS = {api.path: api for api in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)}


def get_skip(api: Api, fault: Fault, streamed: bool) -> str | None:
    """Return why a fault has no meaning for a request to an API; None: it has one."""
    for meaningless, reason in api.no_meaning:
        if fault is meaningless:
            return reason
    if not streamed and fault in STREAM_FAULTS and fault not in ON_PLAIN_ANSWER:
        return "an answer that is not streamed has no events"
    return None
