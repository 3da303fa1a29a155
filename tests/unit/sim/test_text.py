"""The text is a function of the prompt, and can be continued at any character."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from providerrank.sim.text import (
    CORPUS_SIZE,
    compute_pieces,
    compute_seed,
    corpus,
    escaped,
    get_length_mark,
    skip_delivered,
)


def test_the_same_prompt_gives_the_same_text_in_every_process_and_version() -> None:
    # Pinned: recorded transcripts would change their meaning with it.
    assert "".join(compute_pieces(compute_seed("hello"), 4)) == "word part tab\t many"


def test_another_prompt_gives_another_text() -> None:
    texts = {"".join(compute_pieces(compute_seed(f"prompt {number}"), 12)) for number in range(200)}
    assert len(texts) > 190


def test_a_text_has_no_space_before_its_first_word() -> None:
    assert not compute_pieces(compute_seed("x"), 3)[0].startswith(" ")


@given(seed=st.integers(0, 2**64 - 1), count=st.integers(0, 40), cut=st.integers(0, 40))
def test_a_text_is_the_same_whole_and_in_two_stretches(seed: int, count: int, cut: int) -> None:
    cut = min(cut, count)
    assert compute_pieces(seed, cut) + compute_pieces(seed, count - cut, cut) == compute_pieces(seed, count)


def test_a_text_may_be_longer_than_the_corpus() -> None:
    pieces = compute_pieces(7, 2 * CORPUS_SIZE + 3, skip=1)
    assert len(pieces) == 2 * CORPUS_SIZE + 3
    assert pieces[0] == pieces[CORPUS_SIZE] == pieces[2 * CORPUS_SIZE]


def test_four_words_almost_always_stand_at_one_place_only() -> None:
    pieces = corpus()
    places = Counter(pieces[at : at + 4] for at in range(len(pieces) - 3))
    repeated = sum(count for count in places.values() if count > 1)
    assert repeated / len(pieces) < 0.01


def test_the_text_holds_multi_byte_characters_and_such_as_json_escapes() -> None:
    everything = "".join(corpus())
    assert {"日", "🚀", '"', "\\", "\n", "\t"} <= set(everything)
    assert escaped('"\n') == rb"\"\n"


@given(seed=st.integers(0, 2**64 - 1), count=st.integers(1, 30), data=st.data())
def test_a_text_is_continued_exactly_where_it_stopped(seed: int, count: int, data: st.DataObject) -> None:
    pieces = compute_pieces(seed, count)
    whole = "".join(pieces)
    cut = data.draw(st.integers(0, len(whole)))
    rest = skip_delivered(pieces, whole[:cut])
    assert rest is not None
    assert whole[:cut] + "".join(rest) == whole


@given(seed=st.integers(0, 2**64 - 1), at=st.integers(0, 10))
def test_what_the_text_does_not_begin_with_is_not_skipped(seed: int, at: int) -> None:
    pieces = compute_pieces(seed, 12)
    whole = "".join(pieces)
    assert skip_delivered(pieces, whole[:at] + "\x00") is None
    assert skip_delivered(pieces, whole + "more") is None


def test_a_prompt_may_say_how_long_its_answer_is() -> None:
    assert get_length_mark("Tell me [[tokens=17]] more") == 17
    assert get_length_mark("[[tokens=many]]") is None
    assert get_length_mark("nothing") is None
