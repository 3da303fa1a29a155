from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providerrank.rules.cells import CHAT, LONG_CONTEXT, TASKS, Cell
from providerrank.rules.challenge import TEMPLATES, compute_challenge, compute_seed
from providerrank.rules.challenges.draw import Draw
from providerrank.rules.challenges.shape import Challenge, Json, Pinned
from providerrank.rules.params import PARAMS, ChallengeParams
from providerrank.wire import canonical
from providerrank.wire.opening import hash_answer, hash_body, hash_params
from tests.challenges import dress, judge, spoil

VECTORS = Path(__file__).parents[2] / "vectors" / "challenges.json"
SHORT = ChallengeParams(long_context_characters=1_500)
"""For what does not depend on length."""
NAMES = [(task, name) for task, templates in TEMPLATES.items() for name in templates]
PLACES = st.tuples(st.binary(min_size=1, max_size=32), st.integers(0, 10**6))


def get_prompt(challenge: Challenge) -> str:
    messages = challenge.body["messages"]
    assert isinstance(messages, list)
    return "\n".join(str(message["content"]) for message in messages if isinstance(message, dict))


class Vector(msgspec.Struct, forbid_unknown_fields=True):
    beacon: str
    endpoint: str
    task: str
    index: int
    template: str
    body_sha256: str
    params_sha256: str
    solution_sha256: str
    body: dict[str, object] | None = None


@pytest.mark.parametrize(
    "vector", msgspec.json.decode(VECTORS.read_bytes(), type=list[Vector]), ids=lambda v: f"{v.task}-{v.index}"
)
def test_the_same_beacon_gives_the_same_challenge_everywhere(vector: Vector) -> None:
    challenge = compute_challenge(bytes.fromhex(vector.beacon), Cell(vector.endpoint, vector.task), vector.index)
    assert challenge.template == vector.template
    if vector.body is not None:
        assert challenge.body == vector.body
    assert hash_body(challenge.body) == vector.body_sha256
    assert hash_params(challenge.pinned) == vector.params_sha256
    assert hash_answer(challenge.solution) == vector.solution_sha256


@pytest.mark.parametrize(("task", "name"), NAMES)
@settings(max_examples=15)
@given(place=PLACES)
def test_a_right_answer_passes_and_a_mutated_one_fails(task: str, name: str, place: tuple[bytes, int]) -> None:
    challenge = compute_challenge(place[0], Cell("a/m", task), place[1], SHORT, template=name)
    assert judge(challenge, challenge.solution).passed
    for answer in dress(challenge.solution):
        assert judge(challenge, answer).passed, answer
    for answer in spoil(challenge, random.Random(place[1])):
        assert not judge(challenge, answer).passed, answer


@pytest.mark.parametrize(("task", "name"), NAMES)
@settings(max_examples=15)
@given(place=PLACES)
def test_a_request_is_plain_pinned_and_can_be_hashed(task: str, name: str, place: tuple[bytes, int]) -> None:
    challenge = compute_challenge(place[0], Cell("a/m", task), place[1], SHORT, template=name)
    assert challenge == compute_challenge(place[0], Cell("a/m", task), place[1], SHORT, template=name)
    body = json.loads(canonical.encode(challenge.body))
    assert body == challenge.body
    assert body["temperature"] == 0
    assert body["seed"] == challenge.pinned.seed
    assert body["max_tokens"] == challenge.pinned.max_tokens
    assert {"model", "stream"}.isdisjoint(body)
    assert [message["role"] for message in body["messages"]] in (["user"], ["system", "user"])
    prompt = get_prompt(challenge)
    assert challenge.nonce in prompt
    assert prompt.isprintable() or "\n" in prompt
    assert "{" not in prompt or task == "code"
    assert "  " not in prompt.replace("    ", "") or task == "code"


@pytest.mark.parametrize("task", TASKS)
def test_two_beacons_never_share_a_prompt(task: str) -> None:
    prompts: set[str] = set()
    nonces: set[str] = set()
    count = 300 if task == LONG_CONTEXT else 3_000
    for beacon in range(count):
        challenge = compute_challenge(beacon.to_bytes(4), Cell("a/m", task), 0, SHORT)
        prompts.add(hashlib.sha256(get_prompt(challenge).encode()).hexdigest())
        nonces.add(challenge.nonce)
    assert len(prompts) == count
    assert len(nonces) == count


def test_cells_and_indices_do_not_share_a_prompt_either() -> None:
    cells = [Cell(f"{provider}/m", task) for provider in "abc" for task in ("chat", "tools")]
    prompts = {get_prompt(compute_challenge(b"b", cell, index)) for cell in cells for index in range(200)}
    assert len(prompts) == len(cells) * 200


def test_lengths_keep_parts_apart() -> None:
    assert compute_seed(b"ab", Cell("c", "t"), 0) != compute_seed(b"a", Cell("bc", "t"), 0)
    assert compute_seed(b"a", Cell("b", "ct"), 0) != compute_seed(b"a", Cell("bc", "t"), 0)


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_every_template_has_more_than_a_hundred_bits_of_choice(task: str, name: str) -> None:
    least = min(
        compute_challenge(bytes([number]), Cell("a/m", task), 0, SHORT, template=name).bits for number in range(50)
    )
    assert least > 100


@pytest.mark.parametrize("task", TASKS)
def test_there_are_at_least_six_templates_and_all_are_drawn(task: str) -> None:
    drawn = {compute_challenge(b"b", Cell("a/m", task), index, SHORT).template for index in range(150)}
    assert drawn == set(TEMPLATES[task])
    assert len(drawn) >= 6


def test_prompts_do_not_begin_alike() -> None:
    """A cache of prompt prefixes holds nothing of the next long context."""
    starts = {
        get_prompt(compute_challenge(b"b", Cell("a/m", LONG_CONTEXT), index, SHORT))[-1_000:] for index in range(60)
    }
    assert len(starts) == 60


def test_a_long_context_is_long() -> None:
    for index in range(3):
        prompt = get_prompt(compute_challenge(b"b", Cell("a/m", LONG_CONTEXT), index))
        assert PARAMS.challenge.long_context_characters <= len(prompt) < 1.1 * PARAMS.challenge.long_context_characters
        assert len(prompt) / 4.5 > PARAMS.long_context_tokens


def test_a_task_without_templates_is_asked_as_chat() -> None:
    challenge = compute_challenge(b"b", Cell("a/m", "poetry"), 0)
    assert challenge.task == "poetry"
    assert challenge.template in TEMPLATES[CHAT]
    assert challenge.pinned.max_tokens == PARAMS.challenge.chat_max_tokens


def test_indices_start_at_nought() -> None:
    with pytest.raises(ValueError, match="challenge -1"):
        compute_challenge(b"b", Cell("a/m", CHAT), -1)


def test_draws_are_fair_and_fixed() -> None:
    draw = Draw(b"seed")
    first = hashlib.sha256(b"seed" + (0).to_bytes(8)).digest()
    assert draw.below(2**64) == int.from_bytes(first[:8])
    assert draw.below(10) == int.from_bytes(first[8:16]) % 10
    assert draw.bits == pytest.approx(64 + 3.3219, abs=1e-3)
    counts = [0] * 7
    for _ in range(7_000):
        counts[draw.below(7)] += 1
    assert all(850 < count < 1_150 for count in counts)
    assert sorted(draw.shuffle(range(20))) == list(range(20))
    assert len(set(draw.sample(range(20), 5))) == 5


def test_words_past_the_last_multiple_are_drawn_again() -> None:
    """With a bound just over half of all words, about half are rejected: none may come out."""
    bound = 2**63 + 1
    draw = Draw(b"rejects")
    words = [
        int.from_bytes(hashlib.sha256(b"rejects" + n.to_bytes(8)).digest()[at : at + 8])
        for n in range(8)
        for at in (0, 8, 16, 24)
    ]
    accepted = [word for word in words if word < bound]
    assert len(accepted) < len(words)
    assert [draw.below(bound) for _ in range(len(accepted))] == accepted


def test_pinned_parameters_are_sent_and_hashed_as_integers() -> None:
    pinned = Pinned(seed=1, max_tokens=2, temperature_milli=1_000, stop=("a",))
    sent: dict[str, Json] = {"max_tokens": 2, "seed": 1, "temperature": 1, "stop": ["a"]}
    assert pinned.get_body() == sent
    assert pinned.get_fields() == {"max_tokens": 2, "seed": 1, "temperature_milli": 1_000, "stop": ["a"]}
    assert "stop" not in Pinned(1, 2).get_body()
    with pytest.raises(ValueError, match="temperature_milli 700"):
        Pinned(1, 2, 700).get_body()
