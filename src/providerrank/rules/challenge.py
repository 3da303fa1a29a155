"""Challenges: what is asked of an endpoint, decided by nobody.

    seed = SHA-256("providerrank/challenge/1" || beacon || endpoint || task || index), each part preceded by its length
    template, wording, figures = choices drawn from the seed (``challenges.draw``)

The beacon is public and could not be known before it was; so neither a miner nor an endpoint chooses its questions,
and everyone who knows beacon, cell and index has the same one. Every prompt holds a reference of at least 46 random
bits where a person would quote one (a cached answer cannot match), and most of what else is in it is drawn too. The
parameters are pinned; the answer is judged by an expectation that no opinion enters (``challenges.shape``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from providerrank.rules.cells import CHAT, CODE, JSON, LONG_CONTEXT, TOOLS, Cell
from providerrank.rules.challenges import chat, code, json_object, long_context, tools
from providerrank.rules.challenges.draw import Draw
from providerrank.rules.challenges.shape import Challenge, Filled, Json, Pinned
from providerrank.rules.params import PARAMS, ChallengeParams

DOMAIN: Final = b"providerrank/challenge/1"
LENGTH_BYTES: Final = 4
INDEX_BYTES: Final = 8
MAX_SEED: Final = 2**31 - 1
"""Sampling seeds that every API takes are 31 bits."""


@dataclass(frozen=True, slots=True)
class Template:
    """One way of asking; ``name`` is for people."""

    name: str
    fill: Callable[[Draw, ChallengeParams], Filled]


def compute_challenge(
    beacon: bytes, cell: Cell, index: int, params: ChallengeParams = PARAMS.challenge, *, template: str | None = None
) -> Challenge:
    """Return challenge ``index`` (0 and up) of a cell under a beacon; tasks without templates of their own get chat's.

    ``template`` asks for one by name, for tests and trials. Raises ``ValueError`` for a negative index, ``KeyError``
    for an unknown template.
    """
    if index < 0:
        raise ValueError(f"challenge {index}: indices start at 0")
    draw = Draw(compute_seed(beacon, cell, index))
    choices = TEMPLATES.get(cell.task) or TEMPLATES[CHAT]
    chosen = draw.pick(tuple(choices.values())) if template is None else choices[template]
    pinned = Pinned(seed=draw.below(MAX_SEED), max_tokens=_get_max_tokens(cell.task, params))
    filled = chosen.fill(draw, params)
    messages: list[Json] = list(filled.messages)
    return Challenge(
        task=cell.task,
        template=chosen.name,
        index=index,
        body={"messages": messages, **pinned.get_body(), **dict(filled.extras)},
        pinned=pinned,
        expectation=filled.expectation,
        solution=filled.solution,
        nonce=filled.nonce,
        bits=draw.bits,
    )


def compute_seed(beacon: bytes, cell: Cell, index: int) -> bytes:
    """Hash what a challenge depends on; 32 bytes. Lengths keep two different cells from running together."""
    hashed = hashlib.sha256(DOMAIN)
    for part in (beacon, cell.endpoint_id.encode(), cell.task.encode(), index.to_bytes(INDEX_BYTES)):
        hashed.update(len(part).to_bytes(LENGTH_BYTES) + part)
    return hashed.digest()


def _get_max_tokens(task: str, params: ChallengeParams) -> int:
    return {
        CODE: params.code_max_tokens,
        JSON: params.json_max_tokens,
        TOOLS: params.tools_max_tokens,
        LONG_CONTEXT: params.long_context_max_tokens,
    }.get(task, params.chat_max_tokens)


def _name(function: Callable[..., Filled]) -> str:
    return function.__name__.removeprefix("fill_")


def _short(functions: tuple[Callable[[Draw], Filled], ...]) -> dict[str, Template]:
    """Name the templates that have one size."""

    def build(function: Callable[[Draw], Filled]) -> Template:
        return Template(_name(function), lambda draw, _params: function(draw))

    return {_name(function): build(function) for function in functions}


def _long(functions: tuple[Callable[[Draw, int], Filled], ...]) -> dict[str, Template]:
    """Name the templates that are as long as the parameters say."""

    def build(function: Callable[[Draw, int], Filled]) -> Template:
        return Template(_name(function), lambda draw, params: function(draw, params.long_context_characters))

    return {_name(function): build(function) for function in functions}


TEMPLATES: Final[dict[str, dict[str, Template]]] = {
    CHAT: _short(chat.TEMPLATES),
    CODE: _short(code.TEMPLATES),
    JSON: _short(json_object.TEMPLATES),
    TOOLS: _short(tools.TEMPLATES),
    LONG_CONTEXT: _long(long_context.TEMPLATES),
}
"""By task, then by name, in the order the draw picks from: part of the protocol."""
