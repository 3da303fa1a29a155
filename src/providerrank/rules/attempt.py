"""One try of a request on one endpoint: what can be seen on it (the fault table), and what is kept of it.

Apart from the machine that walks over them (``rules.attempts``) because ``Attempt`` and ``Try`` are Structs, and a
module of Structs stays interpreted where the others are compiled (ADR 18).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from providerrank.rules.cells import Endpoint
from providerrank.rules.observation import Outcome
from providerrank.rules.why import Why


class Fault(enum.Enum):
    """What was seen on an attempt that did not succeed."""

    # Members are compared by identity, and looked up in tables for each failure: the enumeration's own way, a hash of
    # the name, costs twenty times as much.
    __hash__ = object.__hash__

    UNREACHABLE = "could not connect"
    RESET = "the connection was reset before an answer"
    CONNECT_TIMEOUT = "no connection in time"
    FIRST_TOKEN_TIMEOUT = "no answer in time"
    IDLE_TIMEOUT = "the answer stalled"
    TOTAL_TIMEOUT = "the request's total time ran out"
    RATE_LIMITED = "rate limited"
    SERVER_ERROR = "server error"
    UNAVAILABLE = "unavailable"
    REFUSED_US = "refused our key, balance or model name"
    CONFLICT = "could not take the request just now"
    CONTEXT_LENGTH = "the prompt is too long for it"
    CONTENT_POLICY = "refused the content"
    UNSUPPORTED = "does not support something the request asks for"
    CLIENT_ERROR = "rejected the request"
    MALFORMED = "answered with something that is not a whole answer"
    CUT = "the answer was cut off"
    SCHEMA = "the answer breaks the requested schema"
    DIVERGED = "its answer does not continue what was already delivered"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the fault table."""

    outcome: Outcome
    """What the fault says of the endpoint."""
    next_endpoint: bool = True
    """Another endpoint of the same model may answer."""
    next_model: bool = True
    """A fallback model may answer."""
    retry_last: bool = False
    """On the model's last endpoint: one retry after a short jittered pause."""
    to_client: bool = False
    """Where nobody else may or does answer, the endpoint's own refusal is the answer."""


TABLE: Mapping[Fault, Rule] = MappingProxyType(
    {
        Fault.UNREACHABLE: Rule(Outcome.FAILURE),
        Fault.RESET: Rule(Outcome.FAILURE, retry_last=True),
        # A route that is silent once is silent again: never retried.
        Fault.CONNECT_TIMEOUT: Rule(Outcome.FAILURE),
        Fault.FIRST_TOKEN_TIMEOUT: Rule(Outcome.FAILURE),
        Fault.IDLE_TIMEOUT: Rule(Outcome.FAILURE),
        Fault.TOTAL_TIMEOUT: Rule(Outcome.FAILURE, next_endpoint=False, next_model=False),
        Fault.RATE_LIMITED: Rule(Outcome.RATE_LIMITED),
        Fault.SERVER_ERROR: Rule(Outcome.FAILURE, retry_last=True),
        # 503, 504 and 529 say "too much": trying the same one again is hammering.
        Fault.UNAVAILABLE: Rule(Outcome.FAILURE),
        Fault.REFUSED_US: Rule(Outcome.REFUSED_US),
        Fault.CONFLICT: Rule(Outcome.FAILURE),
        Fault.CONTEXT_LENGTH: Rule(Outcome.NOBODYS, to_client=True),
        Fault.CONTENT_POLICY: Rule(Outcome.NOBODYS, next_endpoint=False, next_model=False, to_client=True),
        Fault.UNSUPPORTED: Rule(Outcome.NOBODYS, next_model=False, to_client=True),
        Fault.CLIENT_ERROR: Rule(Outcome.NOBODYS, next_endpoint=False, next_model=False, to_client=True),
        Fault.MALFORMED: Rule(Outcome.FAILURE),
        Fault.CUT: Rule(Outcome.FAILURE, retry_last=True),
        # Where every endpoint breaks the schema the last whole answer is still worth more than none.
        Fault.SCHEMA: Rule(Outcome.SCHEMA_VIOLATION, to_client=True),
        Fault.DIVERGED: Rule(Outcome.NOBODYS),
    }
)

STATUS_FAULTS: Mapping[int, Fault] = MappingProxyType(
    {
        401: Fault.REFUSED_US,
        402: Fault.REFUSED_US,
        403: Fault.REFUSED_US,
        404: Fault.REFUSED_US,
        408: Fault.CONFLICT,
        409: Fault.CONFLICT,
        425: Fault.CONFLICT,
        429: Fault.RATE_LIMITED,
        500: Fault.SERVER_ERROR,
        502: Fault.SERVER_ERROR,
    }
)


def get_status_fault(status: int) -> Fault:
    """The fault an HTTP status alone stands for; a 4xx body may say more (``wire.openai``)."""
    fault = STATUS_FAULTS.get(status)
    if fault is not None:
        return fault
    if status >= 500:
        return Fault.UNAVAILABLE
    if status >= 400:
        return Fault.CLIENT_ERROR
    return Fault.MALFORMED


class Attempt(msgspec.Struct, gc=False):
    """One try on one endpoint. Times are in microseconds, None until it happens.

    A Struct for the reason that `observation` gives, and because thousands are kept: the collector need not look at it.
    """

    endpoint: Endpoint
    model: str
    started_us: int
    resuming: bool = False
    connected_us: int | None = None
    first_content_us: int | None = None
    ended_us: int | None = None
    fault: Fault | None = None
    status: int | None = None
    detail: str = ""
    why: Why = Why.BEST
    """Why this endpoint was chosen."""
    note: str = ""
    """What more is known of the fault, in words of ours or by the endpoint's error code; never its own sentences."""
    hedge: bool = False
    """Begun beside another that was slow."""
    beaten: bool = False
    """The other had content first, and this one was dropped."""
    due_us: int = 0
    """When its clock runs out, or is to be looked at."""

    @property
    def outcome(self) -> Outcome:
        """What this attempt says of its endpoint; one that was dropped says nothing."""
        if self.fault is not None:
            return TABLE[self.fault].outcome
        return Outcome.NOBODYS if self.ended_us is None or self.beaten else Outcome.SUCCESS


class Try(msgspec.Struct, gc=False):
    """An action: send the request to this endpoint, after ``pause_us``. A live attempt is dropped first.

    A Struct for the reason that `observation` gives.
    """

    attempt: Attempt
    pause_us: int = 0
