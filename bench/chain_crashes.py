"""Kill a local chain's neurons at 200 random instants and hold their receipts against the ledger.

    python bench/chain_crashes.py [KILLS] [SEED]

Exit code 1 if anything was lost, doubled or off. The quick version is tests/integration/test_chain_crashes.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

kills = sys.argv[1] if len(sys.argv) > 1 else "200"
seed = sys.argv[2] if len(sys.argv) > 2 else "1"
began = time.monotonic()
with tempfile.TemporaryDirectory() as folder:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.integration.chain_crashes", folder, kills, seed],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
found = json.loads(ended.stdout)
print(f"{kills} kills in {time.monotonic() - began:.0f} s, seed {seed}")
for name, value in found.items():
    print(f"  {name}: {value}")
sys.exit(1 if found["wrong"] else 0)
