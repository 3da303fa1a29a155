"""An opened leaf: one record of a bundle, its proof, and the transcript its hashes stand for.

A bundle says only hashes. When a validator picks a leaf, its miner shows the line, the siblings that prove it is in the
signed tree, the request that was sent and the answer that came. What is checked here is exact: the line is in the tree,
the request and the answer are the ones that were hashed. Whether the request is the challenge, and the answer passes
it, is for the gate to recompute.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Final

from providerrank.rules.challenges.shape import Answer, Json, Pinned, ToolCall
from providerrank.rules.records import Record
from providerrank.wire import canonical
from providerrank.wire.bundle import FIRST_LINE, Header
from providerrank.wire.bundle_errors import BundleRefused
from providerrank.wire.bundle_lines import MAX_LINE, decode_line
from providerrank.wire.errors import WireError
from providerrank.wire.merkle import is_included

HASH_BYTES: Final = 32
MAX_PROOF: Final = 32
"""Siblings: a tree of four billion leaves."""
MAX_OPENING: Final = 4 * 1024 * 1024
"""Bytes of an encoded opening: a long-context request twenty times over."""


class OpeningRefused(WireError):
    """An opened leaf that does not fit its bundle. The code says how."""

    code: ClassVar[str] = "opening-refused"


class MalformedOpening(OpeningRefused):
    """Not canonical JSON of the shape of an opening, or past its bounds."""

    code = "malformed"


class NotIncluded(OpeningRefused):
    """The proof does not lead from this line to the signed root."""

    code = "not-included"


class TranscriptMismatch(OpeningRefused):
    """Request or answer are not the ones whose hashes were signed."""

    code = "transcript-mismatch"


@dataclass(frozen=True, slots=True)
class Opening:
    """Leaf ``index`` of a bundle, and what it stands for. ``body`` is without ``model`` and ``stream``."""

    index: int
    line: bytes
    proof: tuple[bytes, ...]
    body: dict[str, Json]
    answer: Answer


def hash_body(body: dict[str, Json]) -> str:
    """Hash a challenge's request body: 64 hex digits. Raises ``NotCanonical`` for fractions."""
    return hashlib.sha256(canonical.encode(body)).hexdigest()


def hash_params(pinned: Pinned) -> str:
    """Hash pinned parameters: 64 hex digits."""
    return hashlib.sha256(canonical.encode(pinned.get_fields())).hexdigest()


def hash_answer(answer: Answer) -> str:
    """Hash an answer, text and calls: 64 hex digits. Half characters, which no UTF-8 holds, count as question marks."""
    return hashlib.sha256(canonical.encode(_get_answer_fields(answer))).hexdigest()


def encode_opening(opening: Opening) -> bytes:
    """Write an opening. Raises ``NotCanonical`` for a body that was never hashed."""
    return canonical.encode(
        {
            "answer": _get_answer_fields(opening.answer),
            "body": opening.body,
            "index": opening.index,
            "line": opening.line.decode(),
            "proof": [sibling.hex() for sibling in opening.proof],
        }
    )


def decode_opening(data: bytes) -> Opening:
    """Read an opening back. Raises ``MalformedOpening``."""
    if len(data) > MAX_OPENING:
        raise MalformedOpening(f"an opening of more than {MAX_OPENING} bytes.")
    try:
        fields = canonical.decode(data)
    except canonical.NotCanonical as error:
        raise MalformedOpening(f"{error}.") from None
    match fields:
        case {
            "answer": {"text": str(text), "tool_calls": list(calls), **more},
            "body": dict(body),
            "index": int(index),
            "line": str(line),
            "proof": list(proof),
            **rest,
        } if not rest and not more and not isinstance(index, bool):
            return Opening(index, line.encode(), _read_proof(proof), body, Answer(text, _read_calls(calls)))
        case _:
            raise MalformedOpening("not an opened leaf.")


def verify_opening(opening: Opening, header: Header) -> Record:
    """Check an opening against its bundle's header; returns the record. Raises ``OpeningRefused``."""
    if len(opening.line) > MAX_LINE or len(opening.proof) > MAX_PROOF:
        raise MalformedOpening("a line or a proof past its bound.")
    if not is_included(opening.line, opening.index, header.size, opening.proof, bytes.fromhex(header.root)):
        raise NotIncluded(f"leaf {opening.index} is not in the tree of root {header.root}.")
    try:
        record = decode_line(opening.line, FIRST_LINE + opening.index)
    except BundleRefused as error:
        raise MalformedOpening(str(error)) from None
    if not isinstance(record, Record):
        raise MalformedOpening(f"leaf {opening.index} is not a record.")
    if hash_body(opening.body) != record.prompt_hash:
        raise TranscriptMismatch(f"leaf {opening.index}: the request is not the one that was hashed.")
    if hash_answer(opening.answer) != record.response_hash:
        raise TranscriptMismatch(f"leaf {opening.index}: the answer is not the one that was hashed.")
    return record


def _get_answer_fields(answer: Answer) -> dict[str, canonical.Value]:
    calls: list[canonical.Value] = [[_mend(call.name), _mend(call.arguments)] for call in answer.tool_calls]
    return {"text": _mend(answer.text), "tool_calls": calls}


def _mend(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _read_proof(proof: list[canonical.Value]) -> tuple[bytes, ...]:
    siblings: list[bytes] = []
    for sibling in proof:
        try:
            data = bytes.fromhex(sibling) if isinstance(sibling, str) else b""
        except ValueError:
            data = b""
        if len(data) != HASH_BYTES or data.hex() != sibling:
            raise MalformedOpening("a sibling in the proof is not 64 lower-case hex digits.")
        siblings.append(data)
    return tuple(siblings)


def _read_calls(calls: list[canonical.Value]) -> tuple[ToolCall, ...]:
    read: list[ToolCall] = []
    for call in calls:
        match call:
            case [str(name), str(arguments)]:
                read.append(ToolCall(name, arguments))
            case _:
                raise MalformedOpening("a tool call is not a pair of name and arguments.")
    return tuple(read)
