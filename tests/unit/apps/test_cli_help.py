"""The command line's front door: what it lists, and what it says to a slip of the fingers."""

from __future__ import annotations

import pytest

from providerrank.apps.cli.commands import COMMANDS, run
from providerrank.apps.failures import USAGE


def test_help_says_what_each_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{name} " in shown and summary in shown for name, (_, summary) in COMMANDS.items())


@pytest.mark.parametrize(("typed", "said"), [("rnk", "did you mean 'rank'?"), ("zzz", "there are init, check,")])
def test_an_unknown_command_names_the_nearest(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([typed]) == USAGE
    assert said in capsys.readouterr().err
