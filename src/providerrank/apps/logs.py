"""Logs: one event a line on standard error, as text or as JSON.

An event is a sentence and its fields. Our own calls write the fields as ``name=%s`` in the message, so both forms come
of one call: ``"endpoint refuses us: endpoint=%s status=%s"`` is the text with the values put in, or, as JSON, the event
``endpoint refuses us`` with ``endpoint`` and ``status`` beside it.

A crash is told by its kind and where it happened. Its message is left out, since it may quote what was being handled.

The line of a request is written on a thread of its own (``engines.batches``): a log nobody reads holds up nobody.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, TextIO

import msgspec
from typing_extensions import override

from providerrank.engines.batches import Batches
from providerrank.rules.cells import NUSD_PER_USD
from providerrank.rules.finished import Finished
from providerrank.rules.params import SECOND_US

Form = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

TEXT_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"

MAX_FRAMES: Final = 8
"""Of a crash, innermost last."""

LINES_MOST: Final = 20_000
"""Lines of requests that may wait to be written; more are dropped, and counted."""
LINES_EVERY_S: Final = 0.2
CLOSE_S: Final = 2.0

_FIELD = re.compile(r"(\w+)=%[sdr]")
_encode = msgspec.json.Encoder().encode

Crash = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure(form: Form, level: Level, stream: TextIO | None = None) -> None:
    """Send everything at ``level`` and above to standard error, or ``stream``; replaces what was set before."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(TEXT_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # A server inside ours: its starts and stops are ours to tell.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """One line an event, as people read it."""

    @override
    def formatException(self, ei: Crash) -> str:
        return tell_crash(ei)

    @override
    def format(self, record: logging.LogRecord) -> str:
        # One line, whatever is in it.
        return super().format(record).replace("\n", " ")


class JsonFormatter(logging.Formatter):
    """One JSON object an event: ``time``, ``level``, ``logger``, ``event``, and its fields."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        event, fields = read_event(record)
        line: dict[str, object] = {
            "time": tell_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        line |= {name: value for name, value in fields.items() if name not in line}
        if record.exc_info and record.exc_info[0] is not None:
            line["crash"] = tell_crash(record.exc_info)
        return _encode(line).decode()


def read_event(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    """The event of a record and its fields."""
    names = _FIELD.findall(record.msg) if isinstance(record.msg, str) else []
    if not names or not isinstance(record.args, tuple) or record.msg.count("%") != len(record.args) != 0:
        return record.getMessage(), {}
    first = _FIELD.search(record.msg)
    head = record.msg[: first.start()] if first else record.msg
    lead = head.count("%")
    event = (head % record.args[:lead]).rstrip(" :") or record.name.rpartition(".")[2]
    if len(names) != len(record.args) - lead:
        return record.getMessage(), {}
    values = map(_plain, record.args[lead:])
    return event, dict(zip(names, values, strict=True))


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def tell_crash(info: Crash) -> str:
    """A crash's kind and places, without its message."""
    kind, _, trace = info
    if kind is None:
        return ""
    frames = traceback.extract_tb(trace)[-MAX_FRAMES:]
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{kind.__name__} at {' > '.join(places)}"


def tell_time(at_s: float) -> str:
    """Unix seconds as RFC 3339, in UTC to the millisecond."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class RequestLine(msgspec.Struct, omit_defaults=True):
    """The log line of one request. Never a prompt, an answer or a key."""

    time: str
    level: str
    logger: str
    event: str
    request_id: str
    api: str
    model: str
    status: int
    attempts: int
    total_s: float
    endpoint: str | None = None
    ttft_s: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    key: str | None = None
    tier: str | None = None
    session: str | None = None
    code: str | None = None
    trace_id: str | None = None


def make_line(finished: Finished) -> RequestLine:
    """What is logged of a request."""
    answered, ttft_us, ask = finished.answered, finished.ttft_us, finished.ask
    prompt, completion, cost_nusd = finished.usage
    total_us = finished.total_us
    return RequestLine(
        time=tell_time((finished.at_us + total_us) / SECOND_US),
        level="info",
        logger="providerrank.requests",
        event="probe" if finished.is_probe else "request",
        request_id=finished.request_id.decode("ascii", "replace"),
        api=finished.api,
        model=ask.model,
        status=finished.status,
        attempts=max(finished.attempts, len(finished.log)),
        total_s=total_us / SECOND_US,
        endpoint=None if answered is None else answered.endpoint.id,
        ttft_s=None if ttft_us is None else ttft_us / SECOND_US,
        input_tokens=prompt or None,
        output_tokens=completion or None,
        cost_usd=cost_nusd / NUSD_PER_USD or None,
        key=finished.key,
        tier=ask.tier,
        session=ask.session,
        code=finished.code or None,
        trace_id=None if finished.trace is None else f"{finished.trace.trace_id:032x}",
    )


def write_line(line: RequestLine, form: Form) -> str:
    """The line, with its end."""
    if form == "json":
        return _encode(line).decode() + "\n"
    fields = [(name, getattr(line, name)) for name in line.__struct_fields__[4:]]
    words = " ".join(f"{name}={_tell_value(value)}" for name, value in fields if value is not None)
    return f"{line.time} INFO {line.logger} {line.event}: {words}\n"


def _tell_value(value: object) -> str:
    if isinstance(value, str):
        # What a client may choose: on one line, and not to be taken for another field.
        return value if value.isprintable() and not set(value) & {" ", '"', "="} else _encode(value).decode()
    return f"{value:.6f}" if isinstance(value, float) else str(value)


class RequestLog:
    """Writes the line of each finished request; ``watch`` is cheap, the writing is somebody else's thread."""

    def __init__(self, form: Form, stream: TextIO | None = None) -> None:
        self._form: Form = form
        self._stream = stream
        self._batches = Batches(self._write, name="request log", most=LINES_MOST, every_s=LINES_EVERY_S)
        self.watch = self._batches.put

    def close(self) -> None:
        """Write what is left."""
        self._batches.close(CLOSE_S)

    def _write(self, batch: list[Finished]) -> None:
        stream = sys.stderr if self._stream is None else self._stream
        stream.write("".join([write_line(make_line(finished), self._form) for finished in batch]))
        stream.flush()
