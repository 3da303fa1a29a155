from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(module: str, *arguments: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", f"tests.integration.{module}", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2_000:]
    assert ended.stderr == ""
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_processes_killed_at_any_instant_neither_lose_nor_double_anything(tmp_path: Path) -> None:
    """40 kills; bench/crashes.py does 200."""
    found = run("chain_crashes", str(tmp_path), "40", "1")
    assert found["wrong"] == []
    # And there was something to lose.
    assert found["epochs"] >= 2
    assert found["neurons"] == 6
    assert min(found["receipts"].values()) >= 3


def test_a_subnet_killed_at_any_instant_loses_no_reveal_and_doubles_nothing(tmp_path: Path) -> None:
    """15 kills of miners, validators and the chain's clock; bench/crashes.py does 200."""
    found = run("market_crashes", str(tmp_path), "15", "3")
    assert found["wrong"] == []
    assert found["epochs"] >= 2
    assert found["commitments"] >= found["reveals"] >= 3
    assert found["weights set"] >= 2


def test_an_act_killed_before_any_of_its_statements_has_not_happened(tmp_path: Path) -> None:
    found = run("chain_statements", str(tmp_path))
    assert found["wrong"] == []
    assert min(found["kills"].values()) >= 5
    assert found["kills"]["the end of an epoch"] > 20
