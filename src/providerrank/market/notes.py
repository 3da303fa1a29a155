"""A probe as it is kept in a journal: what it takes to make its record, and its transcript, again."""

from __future__ import annotations

import msgspec

from providerrank.market.asking import Probe
from providerrank.rules.cells import Cell
from providerrank.rules.challenges.shape import Answer, Challenge, ToolCall
from providerrank.rules.observation import Outcome
from providerrank.rules.records import Record
from providerrank.wire.opening import hash_answer, hash_body, hash_params


class _Note(msgspec.Struct, array_like=True):
    started_us: int
    status: int
    ttft_us: int | None
    total_us: int
    tokens_in: int | None
    tokens_out: int | None
    check: str
    text: str
    calls: list[tuple[str, str]]
    own_fault: str


_decoder = msgspec.json.Decoder(_Note)


def encode_probe(probe: Probe) -> bytes:
    """Write a probe."""
    answer = probe.answer
    return msgspec.json.encode(
        _Note(
            probe.started_us,
            int(probe.outcome),
            probe.ttft_us,
            probe.total_us,
            probe.tokens_in,
            probe.tokens_out,
            probe.check,
            # As it is hashed: half characters, which no file holds, are question marks.
            _mend(answer.text),
            [(_mend(call.name), _mend(call.arguments)) for call in answer.tool_calls],
            probe.own_fault,
        )
    )


def decode_probe(note: bytes) -> Probe:
    """Read a probe back; raises ``msgspec.MsgspecError`` for what ``encode_probe`` did not write."""
    found = _decoder.decode(note)
    return Probe(
        found.started_us,
        Outcome(found.status),
        found.ttft_us,
        found.total_us,
        found.tokens_in,
        found.tokens_out,
        Answer(found.text, tuple(ToolCall(name, arguments) for name, arguments in found.calls)),
        found.own_fault,
        found.check,
    )


def build_record(cell: Cell, challenge: Challenge, probe: Probe) -> Record:
    """Build the record of a probe."""
    return Record(
        cell=cell,
        index=challenge.index,
        prompt_hash=hash_body(challenge.body),
        response_hash=hash_answer(probe.answer),
        params_hash=hash_params(challenge.pinned),
        started_us=probe.started_us,
        ttft_us=probe.ttft_us,
        total_us=probe.total_us,
        tokens_in=probe.tokens_in,
        tokens_out=probe.tokens_out,
        status=probe.outcome,
        check=probe.check,
    )


def _mend(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
