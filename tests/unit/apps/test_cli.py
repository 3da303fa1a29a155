"""Commands called in this process: what they print, and how they end. The real program is in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from providerrank.apps import entry
from providerrank.apps.cli import commands as cli
from providerrank.apps.cli.check import describe
from providerrank.apps.config import load
from providerrank.apps.failures import DEBUG_VARIABLE, CommandFailed, get_exit_code
from providerrank.engines.errors import StoreUnavailableError
from tests.configs import NOWHERE, write_endpoint, write_file

TERMS = """
[buyer]
price_cap = { input = 1, output = 2 }

[[tiers]]
name = "high"
min_reputation = 0.99
"""
CONFIG = write_endpoint(url=NOWHERE) + write_endpoint("beta", 'key = "literal"', url=NOWHERE, price=(3, 9)) + TERMS


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(write_file(tmp_path, CONFIG))


def fail(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


def test_a_command_that_returns_nothing_is_done() -> None:
    assert get_exit_code(lambda: None) == 0
    assert get_exit_code(lambda: 7) == 7


def test_an_expected_failure_is_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert get_exit_code(fail(CommandFailed("no such thing: make one."))) == 1
    assert get_exit_code(fail(StoreUnavailableError("x.db", "it is locked"))) == 1
    assert capsys.readouterr().err == (
        "providerrank: no such thing: make one.\nproviderrank: x.db cannot be used: it is locked.\n"
    )


def test_an_interrupt_is_no_failure_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert get_exit_code(fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == ""


def test_what_nobody_expected_asks_for_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_exit_code(fail(ZeroDivisionError("by zero"))) == 1
    assert "something unexpected happened (ZeroDivisionError: by zero)" in capsys.readouterr().err

    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    with pytest.raises(ZeroDivisionError):
        get_exit_code(fail(ZeroDivisionError("by zero")))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serve"], True),
        (["serve", "-c", "x.toml"], True),
        (["serve", "--config", "x.toml"], True),
        (["serve", "--config=x.toml"], False),
        (["serve", "--help"], False),
        (["serve", "-c", "--help"], False),
        (["check", "-c", "x.toml"], False),
        ([], False),
    ],
)
def test_only_the_plain_form_of_serve_goes_the_short_way(arguments: list[str], expected: bool) -> None:
    assert entry.is_plain_serve(arguments) is expected


def test_nothing_asked_is_answered_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    assert "doctor" in capsys.readouterr().err


def test_check_prints_notes_apart_from_the_verdict(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", "-c", path]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{path}: no mistakes (2 endpoints of 1 model).\n"
    assert f"note: {path}:13: endpoints[1].key holds the secret itself" in printed.err
    assert describe(load(Path(path))) == "2 endpoints of 1 model"


def test_check_as_json_has_the_notes(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", "-c", path, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["notes"][0]["place"] == "endpoints[1].key"


def test_check_as_json_of_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", "-c", str(tmp_path / "no.toml"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["mistakes"][0]["line"] is None


def test_rank_says_why_an_endpoint_is_not_offered(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["rank", "llama", "-c", path]) == 0
    printed = capsys.readouterr().out
    assert "beta/llama: not in the pool: price_cap" in printed
    assert cli.run(["rank", "llama", "--tier", "low", "-c", path]) == 1
    assert "known: high" in capsys.readouterr().err


def test_doctor_names_what_to_fix(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "-c", path]) == 1
    assert "FAILED  reach" in capsys.readouterr().out
    assert cli.run(["doctor", "-c", path, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["usable"] for one in found] == [False, False]


def test_init_asks_only_when_somebody_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.toml"
    assert cli.run(["init", "-c", str(path)]) == 2

    answers = iter(["llama", "groq", "https://api.example.com/v1", "", "GROQ_KEY", "1", "2", "no"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("providerrank.apps.cli.init.ask", lambda _question: next(answers))
    assert cli.run(["init", "-c", str(path), "--client-key-env", "CLIENT"]) == 0
    assert "export GROQ_KEY=…\n  export CLIENT=…" in capsys.readouterr().out
    assert cli.run(["init", "-c", str(path)]) == 1
