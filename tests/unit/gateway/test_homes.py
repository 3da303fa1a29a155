"""Which endpoint keeps what an answer belongs to."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from providerrank.gateway.homes import LONGEST_ID, Homes, explain_home
from providerrank.wire.apis import read_any
from providerrank.wire.intake import Intake


def going_on_from(answer_id: str, **fields: object) -> Intake:
    body = {"model": "m", "input": "U", "previous_response_id": answer_id, **fields}
    return read_any("responses", json.dumps(body).encode())


def find(homes: Homes, answer_id: str) -> str | None:
    intake = going_on_from(answer_id)
    homes.lead(intake)
    if intake.home is None:
        assert intake.preferences is None
    else:
        assert intake.preferences is not None
        assert intake.preferences.only == (intake.home,)
    return intake.home


def test_what_was_kept_is_found() -> None:
    homes = Homes()
    homes.keep("resp_1", "a/m")
    homes.keep("resp_2", "b/m")
    assert (find(homes, "resp_1"), find(homes, "resp_2"), find(homes, "resp_3")) == ("a/m", "b/m", None)


def test_what_can_not_be_an_id_is_not_kept() -> None:
    homes = Homes()
    for answer_id in (None, "", "x" * (LONGEST_ID + 1)):
        homes.keep(answer_id, "a/m")
    assert homes._homes == {}
    homes.keep("x" * LONGEST_ID, "a/m")
    assert find(homes, "x" * LONGEST_ID) == "a/m"


def test_other_preferences_stay() -> None:
    homes = Homes()
    homes.keep("resp_1", "a/m")
    intake = going_on_from("resp_1", provider={"ignore": ["c"], "sort": "price"})
    homes.lead(intake)
    assert intake.preferences is not None
    assert (intake.preferences.only, intake.preferences.ignore, intake.preferences.sort) == (("a/m",), ("c",), "price")
    chosen = going_on_from("resp_1", provider={"only": ["b"]})
    homes.lead(chosen)
    assert chosen.home is None
    assert chosen.preferences is not None
    assert chosen.preferences.only == ("b",)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["x/m", "y/m"]))), st.integers(1, 5))
def test_the_latest_are_kept_and_no_more(kept: list[tuple[str, str]], size: int) -> None:
    homes = Homes(size)
    for answer_id, endpoint_id in kept:
        homes.keep(answer_id, endpoint_id)
    latest: dict[str, str] = {}
    for answer_id, endpoint_id in reversed(kept):
        if len(latest) < size:
            latest.setdefault(answer_id, endpoint_id)
    assert homes._homes == latest


def test_it_is_explained_in_one_sentence() -> None:
    assert explain_home("a/m") == "The answer it goes on from is kept by a/m alone."
