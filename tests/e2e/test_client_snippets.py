"""Every snippet of docs/how-to/clients.md does what it says, against a gateway on another port and with another key."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.sdk_bed import KEY, served

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "how-to" / "clients.md"
SNIPPETS = re.findall(r"^```(python|js)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
NODE = HERE / "node"
CLIENTS = Path(sys.prefix) / "clients" / "bin" / "python"


def name(snippet: tuple[str, str]) -> str:
    """What it is about: the first package it imports."""
    pattern = r"^(?:from|import) (\w+)" if snippet[0] == "python" else r'from "(.*)"'
    found = re.search(pattern, snippet[1], re.MULTILINE)
    assert found is not None
    return f"{snippet[0]}-{found[1]}"


def get_command(language: str, code: str, folder: Path) -> list[str]:
    """How to run it; skips where its packages are not installed."""
    if language == "js":
        node = shutil.which("node")
        if node is None or not (NODE / "node_modules").is_dir():
            pytest.skip("Node.js or the npm packages of tests/e2e/node are not installed: make test")
        # Packages are looked for beside the file, so that is where it has to be.
        (folder / "node_modules").symlink_to(NODE / "node_modules")
        (folder / "snippet.mjs").write_text(code)
        return [node, "snippet.mjs"]
    python = Path(sys.executable)
    if "litellm" in code or "langchain" in code:
        if not CLIENTS.exists():
            pytest.skip("litellm and LangChain are not installed beside this environment: make test")
        python = CLIENTS
    (folder / "snippet.py").write_text(code)
    return [str(python), "snippet.py"]


def test_there_is_one_for_every_client() -> None:
    assert len(SNIPPETS) == 8


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[name(one) for one in SNIPPETS])
async def test_a_snippet(snippet: tuple[str, str], tmp_path: Path) -> None:
    language, code = snippet
    assert "http://127.0.0.1:8080" in code
    assert "sk-mine" in code
    async with served() as it:
        code = code.replace("http://127.0.0.1:8080", it.url).replace("sk-mine", KEY)
        process = await asyncio.create_subprocess_exec(
            *get_command(language, code, tmp_path),
            cwd=tmp_path,
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        assert out.strip(), "it prints the answer"
        assert {outcome for _, outcome in it.outcomes} == {"SUCCESS"}
