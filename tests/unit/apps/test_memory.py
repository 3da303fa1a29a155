"""What large blocks took is given back."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

LEFT = """
import sys
from pathlib import Path
from providerrank.apps.memory import keep_large_blocks_apart

def get_rss_mb():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024

if sys.argv[1] == "apart":
    assert keep_large_blocks_apart()
bytearray(30 << 20)  # freed at once: glibc takes its size for one that comes and goes
before = get_rss_mb()
blocks, pins = [], []
for _ in range(400):
    blocks.append(bytearray(b"x") * 200_000)
    pins.append(bytearray(b"x") * 2_000)
del blocks
print(get_rss_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_what_large_blocks_took_is_given_back() -> None:
    left = {
        how: float(subprocess.run([sys.executable, "-c", LEFT, how], capture_output=True, text=True, check=True).stdout)
        for how in ("apart", "as it is")
    }
    assert left["apart"] < 10
    assert left["as it is"] > 50, "glibc gives it back by itself: the setting is of no use any more"
