"""Kill processes at 200 random instants, and hold what is left of their work against what they were told.

    python bench/crashes.py chain [KILLS] [SEED]     # neurons that do nothing but act on a local chain
    python bench/crashes.py market [KILLS] [SEED]    # miners, validators and the chain's clock of a whole subnet

Exit code 1 if anything was lost, doubled or off. The quick versions are in tests/integration/test_chain_crashes.py.
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
MODULES = {"chain": "chain_crashes", "market": "market_crashes"}

if len(sys.argv) < 2 or sys.argv[1] not in MODULES:
    sys.exit(__doc__)
kills = sys.argv[2] if len(sys.argv) > 2 else "200"
seed = sys.argv[3] if len(sys.argv) > 3 else "1"
began = time.monotonic()
with tempfile.TemporaryDirectory() as folder:
    ended = subprocess.run(
        [sys.executable, "-m", f"tests.integration.{MODULES[sys.argv[1]]}", folder, kills, seed],
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
