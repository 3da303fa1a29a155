"""Relaying one streamed answer: events of one or several attempts in, one stream out.

Events are held until the first that carries content: until then another endpoint can take over without
a trace. From then on each event leaves in the read that brought it. An answer counts as whole when a
finish reason was seen; an endpoint that then forgets ``[DONE]`` or the usage has them supplied.

Everything is judged as chat. An endpoint's other dialect is read into chat chunks first; a client's other shape is
written from them. Where both speak the same one its events pass as they came, and the chunks only judge them.
"""

from __future__ import annotations

import enum
from typing import Final

from providerrank.gateway.splice import Channel, Diverged, Echo, get_text
from providerrank.rules.cells import Endpoint
from providerrank.wire.answer import (
    WHOLE_CALLS,
    Delta,
    StreamChoice,
    StreamEvent,
    Usage,
    read_event,
    rewrite_event,
    show,
    write_usage_event,
)
from providerrank.wire.dialect import Dialect, Reader, Writer
from providerrank.wire.errors import Malformed
from providerrank.wire.intake import BYTES_PER_TOKEN, Intake
from providerrank.wire.sse import DONE, EventReader, EventTooLong, write_event, write_named_event
from providerrank.wire.tool_calls import Call, Calls


class Seen(enum.Enum):
    """What a read meant for the attempt."""

    NOTHING = enum.auto()
    """Nothing that counts as progress (comments)."""
    HELD = enum.auto()
    """Events before any content."""
    CONTENT = enum.auto()
    """Content: whatever is held may go."""
    DONE = enum.auto()
    """The answer is whole and the stream said so."""


# By name they cost a lookup in the enumeration each, a tenth of a microsecond: too much for each event.
_NOTHING: Final = Seen.NOTHING
_HELD: Final = Seen.HELD
_CONTENT: Final = Seen.CONTENT
_DONE: Final = Seen.DONE


class Broken(Exception):
    """The stream can not go on. ``diverged``: it is whole, but does not continue what was delivered."""

    def __init__(self, detail: str, *, diverged: bool = False, note: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.note = detail if note is None else note
        """What may be logged of it: nothing that the endpoint said."""
        self.diverged = diverged


class Relay:
    """The state of one streamed answer across its attempts. ``take_output`` is what the client gets next."""

    __slots__ = (
        "_choices",
        "_content",
        "_echo",
        "_finish",
        "_finishes",
        "_first_id",
        "_held",
        "_intake",
        "_is_native",
        "_last",
        "_prefilled_bytes",
        "_prefilled_tokens",
        "_reader",
        "_reasoning",
        "_rewriting",
        "_source",
        "_writer",
        "_written",
        "_wrote_usage",
        "bad_events",
        "calls",
        "content_events",
        "delivered_content",
        "dialect",
        "finished",
        "sealed",
        "usage",
    )

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._writer = None if intake.dialect is None else intake.dialect.make_writer(intake.model, intake.native)
        self._written: list[bytes] = []
        self._source: Reader | None = None
        self._is_native = False
        """The live attempt's events are of the client's own API: they pass as they came."""
        self.dialect: Dialect | None = None
        """What the live attempt was asked in."""
        self._reader = EventReader()
        self._held: list[bytes] = []
        self._content = Channel()
        self._reasoning = Channel()
        self._echo: Echo | None = None
        self._rewriting = False
        self._first_id: str | None = None
        self._last: bytes | None = None
        self._prefilled_bytes = 0
        self._prefilled_tokens = 0
        """Of the answer, what the live attempt was given to go on from: not its own writing."""
        self._wrote_usage = False
        self._finish = ""
        self._finishes: set[int] = set()
        self._choices: set[int] = set()
        self.finished = False
        """Every choice asked for has its finish reason."""
        self.sealed = intake.seals
        """Something was delivered that no other endpoint can continue."""
        self.bad_events = 0
        """Events of this attempt that were not JSON; skipped, and held against the endpoint."""
        self.content_events = 0
        self.delivered_content = False
        self.usage: Usage | None = None
        self.calls: Calls | None = None
        """Tool calls of the live attempt, where the request offers tools."""

    @property
    def output_text_bytes(self) -> int:
        """UTF-8 bytes of text delivered, reasoning included."""
        return len(self._content.text.encode()) + len(self._reasoning.text.encode())

    @property
    def written_bytes(self) -> int:
        """The part of them that the live attempt has written, or repeated: what it can be expected to bill for."""
        return self.output_text_bytes - self._prefilled_bytes

    @property
    def native_id(self) -> str | None:
        """The id of the answer, where its endpoint gave it and nobody had to go on from there."""
        return self._first_id if self._is_native else None

    @property
    def text(self) -> str:
        """The text delivered so far."""
        return self._content.text

    @property
    def is_plain_and_complete(self) -> bool:
        """Whether the answer is text that claims to be all of it: not cut by a limit, no refusal, no tool call."""
        return self._finish == "stop" and not self.sealed

    @property
    def whole_calls(self) -> list[Call]:
        """The tool calls of an answer that is over and was not cut; several choices' are not told apart."""
        if self.calls is None or self._intake.choices != 1 or self._finish not in WHOLE_CALLS:
            return []
        return self.calls.read()

    def begin_attempt(
        self, endpoint: Endpoint, upstream_model: str, dialect: Dialect | None = None, prefill: str | None = None
    ) -> bytes:
        """The body to send to ``endpoint``: the request, or what continues the answer delivered so far.

        ``dialect`` is what it speaks to this client's requests, ``prefill`` how it is told to go on from a beginning
        (``Upstream``). Raises CannotSay.
        """
        self._reader = EventReader()
        self.bad_events = 0
        self.usage = self.calls = None
        self.finished = False
        self._finishes.clear()
        self._choices.clear()
        self._prefilled_bytes = self._prefilled_tokens = 0
        self._held.clear()
        intake = self._intake
        if not self.delivered_content:
            self._speak(dialect)
            return intake.body(upstream_model, dialect)
        self._rewriting = True
        if (
            "prefill" in endpoint.features
            and self._content.text
            and not self._reasoning.text
            and not intake.is_constrained
        ):
            if dialect is not None and dialect.from_chat is None:
                dialect = None  # it speaks chat too
            try:
                body = intake.continuation(upstream_model, self._content.text, dialect, prefill)
            except ValueError:  # a prompt of token ids or a list of prompts: nothing to append text to
                pass
            else:
                self._speak(dialect)
                self._echo = Echo(self._content.text, trimmed=dialect is not None and dialect.trims_prefill)
                self._prefilled_bytes, self._prefilled_tokens = self.output_text_bytes, self._count_tokens()
                self._content.resume()
                self._reasoning.resume()
                return body
        self._echo = None
        self._content.restart()
        self._reasoning.restart()
        self._speak(dialect)
        return intake.body(upstream_model, dialect)

    def _speak(self, dialect: Dialect | None) -> None:
        self.dialect = dialect
        self._source = None if dialect is None else dialect.make_reader(self._intake.created_s)
        self._is_native = dialect is not None and dialect is self._intake.dialect and not self._rewriting

    def feed(self, data: bytes) -> Seen:
        """Take bytes of the live attempt's body. Raises Broken."""
        try:
            payloads = self._reader.feed(data)
        except EventTooLong as error:
            raise Broken(str(error)) from None
        if self._writer is None and self._source is None:
            return self._take(payloads)  # the usual case: chat in, chat out
        return self._hear(payloads)

    def close(self) -> Seen:
        """The live attempt's body ended. Raises Broken where the answer is not whole."""
        try:
            last = self._reader.close()
        except EventTooLong as error:
            raise Broken(str(error)) from None
        seen = _NOTHING if last is None else self._hear([last])
        if not self.is_whole:
            raise Broken("the stream ended without a finish reason")
        return seen

    def _hear(self, payloads: list[bytes]) -> Seen:
        writer = self._writer
        if writer is None:
            return self._take(payloads) if self._source is None else self._read(self._source, payloads)
        try:
            return self._take(payloads) if self._source is None else self._read(self._source, payloads)
        finally:
            if self.delivered_content:
                self._write(writer)

    def take_output(self) -> bytes:
        """Everything that may go to the client now, as event-stream bytes."""
        held = self._held
        if self._writer is not None:
            out = b"".join(self._written)
            self._written.clear()
            return out
        if len(held) == 1:
            out = b"data: " + held[0] + b"\n\n"
        else:
            out = b"".join([b"data: " + payload + b"\n\n" for payload in held])
        held.clear()
        return out

    def _write(self, writer: Writer) -> None:
        """Write what is held in the client's own API. Raises Broken where it has no words for it."""
        held, self._held = self._held, []
        for payload in held:
            if self._is_native:
                writer.note(payload)
                self._written.append(write_named_event(payload))
                continue
            try:
                self._written.append(writer.write(payload))
            except Malformed as error:
                raise Broken(str(error)) from None

    def write_end(self) -> bytes:
        """What ends the client's stream: the usage it asked for, where the endpoint did not send it, and ``[DONE]``."""
        if self._writer is not None:
            return self._writer.end(*self._count_usage())
        end = write_event(DONE)
        if self._intake.wants_usage and not self._wrote_usage:
            end = write_event(write_usage_event(self._last, *self._count_usage())) + end
        return end

    def write_error(self, body: bytes, message: str, code: str) -> bytes:
        """What ends a stream that can not go on: an explicit error event, in the client's own API."""
        return write_event(body) if self._writer is None else self._writer.error(message, code)

    def _count_usage(self) -> tuple[int, int]:
        """Prompt and completion tokens of the answer as the client has it, over all attempts."""
        used = self.usage or Usage()
        prompt = self._intake.input_tokens if used.prompt_tokens is None else used.prompt_tokens
        completion = self._count_tokens() if used.completion_tokens is None else used.completion_tokens
        if used.prompt_tokens is not None:
            prompt = max(0, prompt - self._prefilled_tokens)
        if used.completion_tokens is not None:
            completion += self._prefilled_tokens
        return prompt, completion

    def _count_tokens(self) -> int:
        """Tokens delivered so far, as well as can be told from outside: most endpoints send one an event."""
        return max(self.content_events, self.output_text_bytes // BYTES_PER_TOKEN)

    def _read(self, source: Reader, payloads: list[bytes]) -> Seen:
        """Events of another dialect: judged as the chat chunks they mean."""
        seen = _NOTHING
        held = self._held
        for payload in payloads:
            try:
                chunks = source.read(payload)
            except Malformed:
                self.bad_events += 1
                continue
            before = len(held)
            try:
                said = self._take(chunks)
            except Broken:
                if self._is_native:
                    del held[before:]
                raise
            if self._is_native:
                del held[before:]
                held.append(payload)
            if said is _DONE:
                return said
            if said is not _NOTHING:
                seen = said
        return seen

    def _take(self, payloads: list[bytes]) -> Seen:
        seen = _NOTHING
        for payload in payloads:
            if payload == DONE:
                if not self.is_whole:
                    raise Broken("the stream said it was done without a finish reason")
                return _DONE
            try:
                event = read_event(payload)
            except Malformed:
                self.bad_events += 1
                continue
            text = event.plain_text
            if text and not self._rewriting and self.delivered_content:
                # All but the first and last events of most streams.
                self._content.deliver(text)
                self._held.append(payload)
                self.content_events += 1
                seen = _CONTENT
                continue
            if event.error is not None:
                if self.finished:
                    return _DONE  # what fails after its answer is whole fails nobody
                raise Broken(f"error event: {show(event.error)}", note="an error event")
            if event.usage is not None:
                self.usage = event.usage
            if not event.choices:
                self._pass_extra(payload, event)
            elif self._rewriting:
                self._continue(payload, event, event.choices[0])
            else:
                self._pass(payload, event, event.choices)
            if self.delivered_content:
                seen = _CONTENT
            elif seen is _NOTHING:
                seen = _HELD
        return seen

    def _pass(self, payload: bytes, event: StreamEvent, choices: list[StreamChoice]) -> None:
        """An event of the first attempt, passed on byte for byte."""
        counts = False
        for choice in choices:
            if choice.finish_reason is not None:
                # First: where it says "error" nothing here is delivered.
                self._take_finish(choice.finish_reason, choice.index)
                counts = True
            delta = choice.delta
            if delta is None:
                if choice.text:
                    counts = True
                    self._content.deliver(choice.text)
            elif delta.content:
                counts = True
                self._content.deliver(delta.content)
                if delta.says_more:
                    self._pass_more(delta)
            elif delta.says_more:
                counts = True
                self._pass_more(delta)
            if choice.index:
                self.sealed = True
                self._choices.add(choice.index)
        if counts:
            self.content_events += 1
            if not self.delivered_content:
                self.delivered_content = True
                self._first_id = event.id
                self._last = payload
        self._held.append(payload)

    def _pass_more(self, delta: Delta) -> None:
        """What a delta adds beside content: reasoning can be continued, a tool call or a refusal can not."""
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            self._reasoning.deliver(reasoning)
        if delta.seals:
            self.sealed = True
            self._note_calls(delta)

    def _note_calls(self, delta: Delta) -> None:
        """Keep what is called, to be judged when it is whole."""
        if delta.tool_calls and "tools" in self._intake.features:
            if self.calls is None:
                self.calls = Calls()
            self.calls.add(delta.tool_calls)

    def _take_finish(self, reason: str, index: int) -> None:
        if reason == "error":
            raise Broken("finish reason 'error'")
        self._finishes.add(index)
        self.finished = len(self._finishes) >= self._intake.choices
        self._finish = reason

    @property
    def is_whole(self) -> bool:
        """Whether every choice that was begun has its finish reason: some endpoints give fewer than were asked for."""
        return bool(self._finishes) and self._finishes >= self._choices

    def _pass_extra(self, payload: bytes, event: StreamEvent) -> None:
        """An event without choices: the usage, for those who asked, or something of the endpoint's own."""
        if event.usage is None:
            if not self._rewriting:
                self._held.append(payload)
        elif self._intake.wants_usage and not self._prefilled_tokens:
            # (What an endpoint used to go on from a prefill is not what the answer took: ``write_end`` adds it up.)
            self._wrote_usage = True
            self._held.append(self._rewrite(payload) if self._rewriting else payload)

    def _continue(self, payload: bytes, event: StreamEvent, choice: StreamChoice) -> None:
        """An event of a later attempt: only what is new of it is passed on, under the first stream's id."""
        delta = choice.delta
        matching = self._content.matching or self._reasoning.matching
        if choice.index or (delta is not None and delta.seals):
            if matching:
                raise Broken("the new answer calls a tool where text was delivered", diverged=True)
            self.sealed = True
            if delta is not None:
                self._note_calls(delta)
        content, reasoning = get_text(event)
        new_content, new_reasoning = self._match(content, reasoning)
        finish = choice.finish_reason
        if finish is not None:
            self._take_finish(finish, choice.index)
            if self._content.matching or self._reasoning.matching:
                raise Broken("the new answer is shorter than what was delivered", diverged=True)
            if self._echo is not None:
                new_content += self._echo.flush()
        if new_content or new_reasoning or finish is not None or self.sealed:
            rewritten = self._rewrite(
                payload, new_content if content or new_content else None, new_reasoning if reasoning else None
            )
            self.content_events += 1
            self._held.append(rewritten)
            if new_content:
                self._content.deliver(new_content)
            if new_reasoning:
                self._reasoning.deliver(new_reasoning)

    def _rewrite(self, payload: bytes, content: str | None = None, reasoning: str | None = None) -> bytes:
        """An event of a later attempt as one of the first stream's. Raises Broken."""
        try:
            return rewrite_event(payload, event_id=self._first_id, content=content, reasoning=reasoning)
        except Malformed as error:
            raise Broken(str(error), note=error.note) from None

    def _match(self, content: str, reasoning: str) -> tuple[str, str]:
        """What of an event's text the client does not have yet."""
        try:
            new_reasoning = self._reasoning.match(reasoning) if reasoning else ""
            if self._echo is not None:
                return self._echo.match(content), new_reasoning
            new_content = self._content.match(content) if content else ""
        except Diverged:
            raise Broken("the new answer differs from what was delivered", diverged=True) from None
        if (new_content and self._reasoning.matching) or (new_reasoning and self._content.matching):
            raise Broken("the new answer goes on where the delivered one had not got to", diverged=True)
        return new_content, new_reasoning


def is_event_stream(headers: dict[bytes, bytes]) -> bool:
    """Whether a 200 answer is a stream; an answer that does not say what it is gets the benefit of the doubt."""
    kind = headers.get(b"content-type")
    return kind is None or kind.lower().startswith(b"text/event-stream")


def is_json(headers: dict[bytes, bytes]) -> bool:
    """Whether a 200 answer is JSON, likewise."""
    kind = headers.get(b"content-type")
    return kind is None or b"json" in kind.lower()
