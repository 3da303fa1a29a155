"""What is fuzzed: each target takes any bytes, and raises only where the code under test is wrong.

Readers may refuse; then they raise an error of their own tree, and it says something. What two ways of reading the same
bytes make of them must agree: however bytes are cut on their way they mean the same, and what is written is read back.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from providerrank.gateway.relay import Broken, Relay
from providerrank.gateway.schema_cost import SchemaCost
from providerrank.rules.cells import ASSUMED_FEATURES, Endpoint, Price
from providerrank.wire.answer import read_event, read_reply
from providerrank.wire.apis import DIALECTS, PATHS, read_any
from providerrank.wire.bundle import read_bundle
from providerrank.wire.bundle_lines import decode_line, encode_line
from providerrank.wire.canonical import decode, encode
from providerrank.wire.dialect import CannotSay
from providerrank.wire.errors import BadHttp, BadRequest, Malformed, TooLarge, WireError
from providerrank.wire.http1 import RequestReader, ResponseReader
from providerrank.wire.refusal import read_error
from providerrank.wire.retry_after import MAX_US, read_retry_after_us
from providerrank.wire.sse import EventReader, EventTooLong
from providerrank.wire.trace_context import read_traceparent

Target = Callable[[bytes], None]


class Wrong(Exception):
    """A property that does not hold."""


def expect(is_so: object, what: object) -> None:
    if not is_so:
        raise Wrong(repr(what)[:2000])


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """The input, and the same in pieces: its first bytes say where."""
    places, data = data[:4], data[4:]
    stops = sorted({place * (len(data) + 1) // 256 for place in places})
    return data, [data[start:end] for start, end in zip([0, *stops], [*stops, len(data)], strict=True)]


# ---- HTTP ------------------------------------------------------------------------------------------------------------

BOUND = 1 << 20
"""Above any input: what is compared here is not where bounds fall."""


def _read_requests(reads: list[bytes]) -> list[object]:
    reader = RequestReader(BOUND, BOUND)
    seen: list[object] = []
    try:
        for data in reads:
            reader.feed(data)
        # (Not ``busy``: of a method alone, behind a whole request, it is told only with the read that brings more.)
        seen.append(reader.in_body)
    except (BadHttp, TooLarge) as error:
        expect(str(error), error)
        seen.append("refused")
    whole = [(r.method, r.path, r.version, r.body, tuple(r.headers.items()), r.keep_alive) for r in reader.requests]
    for one in reader.requests:
        expect(one.version in ("1.0", "1.1"), one.version)
        for name, value in one.headers.items():
            expect(name == name.lower() and not {0, 10, 13} & {*name, *value}, (name, value))
    return [*whole, *seen]


def fuzz_http_requests(data: bytes) -> None:
    data, pieces = cut(data)
    whole = _read_requests([data])
    expect(_read_requests(pieces) == whole, (data, pieces))
    expect(_read_requests([data[at : at + 1] for at in range(len(data))]) == whole, data)


def _read_responses(reads: list[bytes]) -> list[object]:
    seen: list[object] = []
    body: list[bytes] = []

    def on_end() -> None:
        seen.extend((b"".join(body), "end", reader.keep_alive))
        body.clear()

    reader = ResponseReader(lambda *head: seen.append(head), body.append, on_end, BOUND)
    try:
        for data in reads:
            reader.feed(data)
        seen.append((b"".join(body), reader.started and bool(b"".join(reads)), reader.headers_seen, reader.eof()))
    except BadHttp as error:
        expect(str(error), error)
        seen += [b"".join(body), "refused"]
    expect(seen.count("end") <= 1, seen)
    return seen


def fuzz_http_responses(data: bytes) -> None:
    data, pieces = cut(data)
    whole = _read_responses([data])
    for other in (
        _read_responses([p for p in pieces if p]),
        _read_responses([data[a : a + 1] for a in range(len(data))]),
    ):
        if "refused" in whole or "refused" in other:
            # What came before the mistake may have been handed out already, or not.
            expect(("refused" in whole) == ("refused" in other), (data, whole, other))
        else:
            expect(other == whole or not data, (data, whole, other))


# ---- event streams ---------------------------------------------------------------------------------------------------


def _read_events(reads: list[bytes]) -> list[bytes] | None:
    reader = EventReader()
    try:
        events = [event for data in reads for event in reader.feed(data)]
        last = reader.close()
    except EventTooLong:
        return None
    return events if last is None else [*events, last]


def fuzz_sse(data: bytes) -> None:
    data, pieces = cut(data)
    whole = _read_events([data])
    expect(_read_events(pieces) == whole, (data, pieces))
    expect(_read_events([data[at : at + 1] for at in range(len(data))]) == whole, data)
    for event in whole or ():
        expect(b"\n" not in event and b"\r" not in event, event)


# ---- requests --------------------------------------------------------------------------------------------------------

_APIS = sorted(set(PATHS.values()))


def fuzz_requests(data: bytes) -> None:
    """A client's request in any API, and all that may be made of it."""
    api = _APIS[data[0] % len(_APIS)] if data else _APIS[0]
    try:
        intake = read_any(api, data[1:])
    except BadRequest as refused:
        expect(str(refused) and refused.status in (400, 413), refused)
        return
    json.loads(intake.body("upstream").decode("utf-8", "replace"), strict=False)
    for dialect in (None, *DIALECTS.values()):
        if dialect is not None and dialect.from_chat is None and dialect is not intake.dialect:
            continue
        for write in (lambda d: intake.body("u", d), lambda d: intake.continuation("u", "said", d)):
            try:
                json.loads(write(dialect).decode("utf-8", "replace"), strict=False)
            except CannotSay as error:
                expect(error.lost, error)
            except (ValueError, KeyError):
                expect(not intake.is_chat, (api, data))


# ---- answers ---------------------------------------------------------------------------------------------------------


def fuzz_replies(data: bytes) -> None:
    """A whole answer in any API, read as chat and written in every other."""
    readers = [None, *DIALECTS.values()]
    dialect = readers[data[0] % len(readers)] if data else None
    body = data[1:]
    try:
        chat = body if dialect is None else dialect.to_chat_reply(body, 1)
        read_reply(chat)
        for other in DIALECTS.values():
            json.loads(other.from_chat_reply(chat, "m", {}).decode("utf-8", "replace"), strict=False)
    except Malformed as error:
        expect(str(error), error)


_ENDPOINT = Endpoint("a/m", "m", Price.from_usd(1, 1), None, ASSUMED_FEATURES | {"prefill"})
_ASKS = {
    "chat": b'{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true}',
    "completions": b'{"model":"m","prompt":"a","stream":true}',
    "messages": b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"a"}],"stream":true}',
    "responses": b'{"model":"m","input":"a","stream":true}',
}


def _relay(api: str, native: bool, attempts: list[list[bytes]]) -> tuple[bytes, bool]:
    """What a client receives of these attempts, and whether it was told that it is whole."""
    intake = read_any(api, _ASKS[api])
    relay = Relay(intake)
    out = b""
    for reads in attempts:
        relay.begin_attempt(_ENDPOINT, "u", intake.dialect if native and intake.dialect else None)
        try:
            for data in reads:
                seen = relay.feed(data)
                if relay.delivered_content:
                    out += relay.take_output()
                if seen.name == "DONE":
                    return out + relay.take_output() + relay.write_end(), True
            relay.close()
        except Broken as broken:
            expect(broken.detail, broken)
            if relay.delivered_content:
                out += relay.take_output()
            if relay.sealed:
                return out, False
            continue
        return out + relay.take_output() + relay.write_end(), True
    return out, False


def fuzz_streams(data: bytes) -> None:
    """Streams of one or two attempts in any API: any cut of the bytes delivers the same, and only text comes out."""
    kind, data = (data[0], data[1:]) if data else (0, b"")
    api = sorted(_ASKS)[kind % 4]
    first, _, second = data.partition(b"@@")
    out, is_whole = _relay(api, bool(kind & 4), [[first], [second]])
    first, pieces = cut(data.partition(b"@@")[0])
    again = _relay(api, bool(kind & 4), [[first], [second]])
    expect(_relay(api, bool(kind & 4), [pieces, [second]]) == again, (api, pieces))
    for stream, whole in ((out, is_whole), again):
        expect(not whole or stream, data)
        for block in stream.split(b"\n\n")[:-1]:
            expect(block.startswith((b"data: ", b"event: ")), (api, block))


def fuzz_events(data: bytes) -> None:
    """Events of any API, one by one, in and out."""
    readers = [dialect.make_reader(1) for dialect in DIALECTS.values()]
    writers = [dialect.make_writer("m", {}) for dialect in DIALECTS.values()]
    for payload in data.split(b"\n"):
        for reader in readers:
            try:
                chunks = reader.read(payload)
            except Malformed:
                continue
            for chunk in chunks:
                expect(b"\n" not in chunk, chunk)
                if chunk != b"[DONE]":
                    try:
                        read_event(chunk)
                    except Malformed:
                        pass  # of an error's words, which are not looked into, bytes that are no text
        try:
            read_event(payload)
        except Malformed:
            continue
        for writer in writers:
            try:
                writer.write(payload)
            except Malformed:
                continue
    for writer in writers:
        writer.end(1, 1)


# ---- the rest --------------------------------------------------------------------------------------------------------


def fuzz_refusals(data: bytes) -> None:
    """An endpoint's error answer, and its Retry-After."""
    reading = read_error(400 + (data[0] if data else 0) % 200, data[1:])
    expect(len(reading.message) <= 200 and reading.message.isprintable(), reading)
    expect(all(one.isascii() for one in reading.code), reading)
    wait = read_retry_after_us({b"retry-after": data[1:], b"retry-after-ms": data[2:]}, 1_800_000_000_000_000)
    expect(wait is None or 0 <= wait <= MAX_US, wait)
    wait = read_retry_after_us({b"retry-after": data}, 1_800_000_000_000_000)
    expect(wait is None or 0 <= wait <= MAX_US, wait)
    parent = read_traceparent(data)
    expect(parent is None or (0 < parent.trace_id < 1 << 128 and 0 < parent.span_id < 1 << 64), parent)


def fuzz_canonical(data: bytes) -> None:
    """What is signed has one form: what is read is written back to the byte."""
    try:
        value = decode(data)
    except WireError:
        return
    expect(encode(value) == data, data)


def fuzz_bundles(data: bytes) -> None:
    """A miner's bundle, however it is cut, is refused in words; a line that is read is written back to the byte."""
    data, pieces = cut(data)
    said = []
    for chunks in ([data], pieces):
        try:
            read_bundle(chunks)
            said.append("")
        except WireError as error:
            expect(str(error), error)
            said.append(str(error))
    expect(said[0] == said[1], said)
    try:
        line = decode_line(data, 1)
    except WireError:
        return
    expect(encode_line(line).rstrip(b"\n") == data.rstrip(b"\n"), data)


def fuzz_schemas(data: bytes) -> None:
    """The bound on a schema's cost is found for any JSON, soon."""
    try:
        schema = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    expect(SchemaCost(schema).visits(5) >= 1, data)


TARGETS: dict[str, Target] = {
    name.removeprefix("fuzz_"): value for name, value in list(globals().items()) if name.startswith("fuzz_")
}
