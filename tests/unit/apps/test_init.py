"""What `init` asks and writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.apps import config
from providerrank.apps.failures import CommandFailed
from providerrank.apps.init import Addresses, Answers, Draft, FileIsThere, build_text, write
from providerrank.apps.init_questions import ask_for_endpoints

GROQ = Answers("groq", "llama-3.3-70b", "https://api.groq.com/openai/v1", 0.59, 0.79, "llama-versatile", "GROQ_KEY")


def typed(*answers: str) -> Callable[[str], str]:
    """Somebody at the keyboard, who types these and leaves."""
    left = list(answers)

    def ask(_question: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    return ask


def test_what_is_written_is_what_was_said() -> None:
    text = build_text((GROQ,), Addresses("127.0.0.1:1", "127.0.0.1:2", "CLIENT"))
    loaded = config.parse(text, Path("x"), {"GROQ_KEY": "k", "CLIENT": "c"})
    [endpoint] = loaded.config.endpoints

    assert endpoint.id == "groq/llama-3.3-70b"
    assert endpoint.upstream_model == "llama-versatile"
    assert endpoint.price == config.PriceTable(0.59, 0.79)
    assert loaded.reveal(endpoint.key) == "k"
    assert loaded.config.gateway.listen == "127.0.0.1:1"
    assert loaded.reveal(loaded.config.gateway.keys[0]) == "c"
    assert loaded.notes == ()


def test_every_key_of_the_file_is_there_to_be_read_about() -> None:
    text = build_text((GROQ,), Addresses())

    for table in (
        config.GatewayTable,
        config.BuyerTable,
        config.TimeoutsTable,
        config.EndpointTable,
        config.ModelTable,
        config.TierTable,
        config.KeyTable,
    ):
        for key in table.__struct_fields__:
            assert f"{key} = " in text, key


def test_every_commented_default_may_be_switched_on() -> None:
    text = build_text((GROQ,), Addresses())
    on = "\n".join(
        line.removeprefix("# ") if " = " in line and line.startswith("# ") else line
        for line in text.partition("# [[models]]")[0].splitlines()
        if "keys" not in line and "…" not in line
    )

    loaded = config.parse(on, Path("x"), {"GROQ_KEY": "k"})

    assert loaded.config.timeouts == config.TimeoutsTable()
    assert loaded.config.gateway == config.GatewayTable()
    assert loaded.config.buyer.weights == config.BuyerTable().weights


def test_what_would_be_refused_is_not_written() -> None:
    bad = Answers("a b", "m", "nowhere", -1, 1)

    with pytest.raises(CommandFailed) as refused:
        build_text((bad,), Addresses())

    assert len(str(refused.value).splitlines()) == 4
    assert "endpoints[0].id" in str(refused.value)


@given(st.text(min_size=1), st.text(), st.text())
def test_nothing_typed_can_break_out_of_its_place(model: str, upstream: str, url: str) -> None:
    answers = Answers("groq", model, f"https://api.example.com/{url}", 1, 1, upstream or None)
    try:
        text = build_text((answers,), Addresses())
    except CommandFailed:
        return
    [endpoint] = config.parse(text, Path("x"), {}).config.endpoints

    assert endpoint.model == model
    assert endpoint.base_url == answers.base_url
    assert endpoint.upstream_model == answers.upstream_model


def test_a_file_that_is_there_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "providerrank.toml"
    write(path, "first", force=False)

    with pytest.raises(FileIsThere, match="--force"):
        write(path, "second", force=False)
    assert path.read_text() == "first"

    write(path, "third", force=True)
    assert path.read_text() == "third"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="cannot be written"):
        write(tmp_path / "no" / "x.toml", "text", force=False)


def test_questions_are_asked_until_the_answer_can_be_used() -> None:
    first_endpoint = ["", "llama", "a b", "groq", "nowhere", "https://api.example.com/v1", ""]
    its_key_and_prices = ["sk-key!", "GROQ_KEY", "cheap", "0.5", "1"]
    second_endpoint = ["local", "http://127.0.0.1:9000/v1", "llama-local", "", "0", "0"]
    ask = typed(*first_endpoint, *its_key_and_prices, "y", *second_endpoint, "n")

    first, second = ask_for_endpoints(Draft(), ask)

    assert first == Answers("groq", "llama", "https://api.example.com/v1", 0.5, 1.0, None, "GROQ_KEY")
    assert second == Answers("local", "llama", "http://127.0.0.1:9000/v1", 0.0, 0.0, "llama-local", None)


def test_what_the_options_said_is_not_asked() -> None:
    draft = Draft("groq", "llama", "https://api.example.com/v1", input_price=1.0)

    assert ask_for_endpoints(draft, typed("", "", "2", "")) == [
        Answers("groq", "llama", "https://api.example.com/v1", 1.0, 2.0)
    ]
    assert draft.get_missing() == ["output_price"]
    assert draft.complete() is None


def test_leaving_in_the_middle_writes_nothing() -> None:
    with pytest.raises(CommandFailed, match="nothing was written"):
        ask_for_endpoints(Draft(), typed("llama"))
