"""`providerrank sim run attacks`, on an arena small enough for every run."""

from __future__ import annotations

import json

import pytest

from providerrank.apps.cli.commands import run
from providerrank.sim.arena.attackers import ATTACKERS

SMALL = ["sim", "run", "attacks", "--epochs", "2", "--miners", "32", "--cells", "20"]


def test_each_attacker_has_a_row_with_its_bound(capsys: pytest.CaptureFixture[str]) -> None:
    code = run([*SMALL, "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert [one["attacker"] for one in shown["attackers"]] == [name for name, _ in ATTACKERS]
    assert (code == 0) == all(one["is_bounded"] for one in shown["attackers"])
    assert shown["epochs"] == 2


def test_the_table_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    run([*SMALL, "--seed", "4"])
    out = capsys.readouterr().out
    assert "copycat-committed" in out
    assert "An honest miner has" in out


def test_too_few_miners_are_told_how_many_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "run", "attacks", "--miners", "5"]) == 1
    assert "ask for at least" in capsys.readouterr().err
