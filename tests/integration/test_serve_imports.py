"""What the market needs stays out of a gateway's process: its memory is a bar of this project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.configs import NOWHERE, write_endpoint, write_file, write_gateway

SCRIPT = """
import asyncio, sys, urllib.request
from pathlib import Path
from providerrank.apps import config, serve

async def main():
    async with serve.opened(config.load(Path(sys.argv[1]), {})) as service:
        await asyncio.to_thread(urllib.request.urlopen, service.admin_url + "/")
    print("numpy" in sys.modules)

asyncio.run(main())
"""


def test_a_gateway_that_served_its_page_has_not_imported_numpy(tmp_path: Path) -> None:
    path = write_file(tmp_path, write_gateway(), write_endpoint(url=NOWHERE))
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", done.stderr
