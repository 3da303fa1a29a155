from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_processes_killed_at_any_instant_neither_lose_nor_double_anything(tmp_path: Path) -> None:
    """40 kills; bench/chain_crashes.py does 200."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.integration.chain_crashes", str(tmp_path), "40", "1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2_000:]
    assert ended.stderr == ""
    found = json.loads(ended.stdout)
    assert found["wrong"] == []
    # And there was something to lose.
    assert found["epochs"] >= 2
    assert found["neurons"] == 6
    assert min(found["receipts"].values()) >= 3
