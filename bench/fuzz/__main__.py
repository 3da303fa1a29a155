"""Fuzz every reader of bytes for a while, guided by coverage; exits 1 where one is found wrong.

    python -m bench.fuzz --seconds 600            # shared by all targets, two at a time
    python -m bench.fuzz --only sse,requests --seconds 60
    python -m bench.fuzz --only sse --input crash-0123     # one input again, with its traceback

Each target (``targets``) runs in a process of its own under atheris (libFuzzer), from the vectors in ``tests/vectors``
on. What is found is a file ``crash-...`` in the folder given by ``--keep``: make a vector of it, and mend the reader.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VECTORS = Path(__file__).parents[2] / "tests" / "vectors"
MAX_INPUT_BYTES = 4096
WORDS = [
    "Content-Length: ", "Transfer-Encoding: chunked", "HTTP/1.1", "\\x0d\\x0a", "\\x0d\\x0a\\x0d\\x0a",
    "0\\x0d\\x0a\\x0d\\x0a", "Connection: ", "Upgrade: ", "data: ", "data: [DONE]", "\\x0a\\x0a", "event: ", "@@",
    "{", "}", "[", "]", ",", ":", "null", "true", "\\x22delta\\x22:", "\\x22content\\x22:", "\\x22choices\\x22:[",
    "\\x22finish_reason\\x22:\\x22stop\\x22", "\\x22type\\x22:\\x22", "\\x22text\\x22",
    "\\x22role\\x22:\\x22user\\x22", "\\x22tool_calls\\x22:[", "\\x22index\\x22:", "\\x22usage\\x22:{",
    "\\x22error\\x22:", "\\x22model\\x22:\\x22m\\x22", "\\x22messages\\x22:[", "\\x22input\\x22:",
    "\\x22tools\\x22:[", "\\x22max_tokens\\x22:", "message_start", "content_block_start", "content_block_delta",
    "content_block_stop", "message_delta", "message_stop", "response.created", "response.output_item.added",
    "response.output_text.delta", "response.function_call_arguments.delta", "response.completed", "tool_use",
    "input_json_delta", "text_delta", "thinking_delta", "signature_delta", "function_call", "output_text",
    "\\\\ud800", "1e999", "\\x22$ref\\x22:\\x22#", "\\x22allOf\\x22:[", "\\x22items\\x22:", "\\x22properties\\x22:{",
]  # fmt: skip
"""What libFuzzer may put in: it finds the rest by itself."""


def main() -> int:
    from bench.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="in all, shared by the targets")
    parser.add_argument("--only", default="", help="names, with commas between: " + ", ".join(TARGETS))
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--keep", type=Path, help="where findings and what was learned are kept (default: nowhere)")
    parser.add_argument("--input", type=Path, help="run this one input through the only target")
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name] or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if given.input is not None:
        TARGETS[names[0]](given.input.read_bytes())
        print(f"{names[0]}: nothing wrong with {given.input}")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        return _run(names, given.seconds * given.jobs / len(names), given.jobs, given.keep or Path(temporary))


def _run(names: list[str], each_s: float, jobs: int, keep: Path) -> int:
    waiting = list(names)
    running: dict[str, tuple[subprocess.Popen[bytes], Path, float]] = {}
    wrong = 0
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            place = keep.resolve() / name
            _seed(place / "corpus")
            (place / "words").write_text("".join(f'"{word}"\n' for word in WORDS))
            with (place / "log").open("wb") as log:
                running[name] = (
                    subprocess.Popen(
                        [sys.executable, "-m", "bench.fuzz.child", name, str(place / "corpus"),
                         f"-dict={place / 'words'}", f"-max_total_time={max(1, round(each_s))}",
                         f"-max_len={MAX_INPUT_BYTES}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
                         f"-artifact_prefix={place}/"],
                        stdout=log, stderr=log, env=os.environ,
                    ),
                    place,
                    time.monotonic(),
                )  # fmt: skip
        time.sleep(0.2)
        for name, (process, place, began_s) in list(running.items()):
            if process.poll() is not None:
                del running[name]
                wrong += _tell(name, process.returncode, place, time.monotonic() - began_s)
    return 1 if wrong else 0


def _tell(name: str, code: int, place: Path, took_s: float) -> bool:
    text = (place / "log").read_text("utf-8", "replace")
    runs = re.search(r"number_of_executed_units:\s*(\d+)", text)
    found = sorted([*place.glob("crash-*"), *place.glob("timeout-*"), *place.glob("oom-*")])
    print(f"{name:16} {int(runs[1]) if runs else 0:>10,} inputs in {took_s:4.0f} s: "
          f"{'nothing' if code == 0 and not found else 'WRONG'}", flush=True)  # fmt: skip
    if code == 0 and not found:
        return False
    print("\n".join(text.splitlines()[-40:]))
    for path in found:
        print(f"{path.name}: {path.read_bytes()!r}")
    return True


def _seed(corpus: Path) -> None:
    """The vectors' own inputs to begin with."""
    corpus.mkdir(parents=True, exist_ok=True)
    for path in sorted(VECTORS.rglob("*.json")):
        if path.parent.name == "yuma" or path.stat().st_size > 2_000_000:
            continue
        for number, vector in enumerate(json.loads(path.read_text())):
            given = vector.get("input") if isinstance(vector, dict) else None
            # (What is one body in the vector is one here, without blanks as clients send it.)
            texts = given.get("reads", [given]) if isinstance(given, dict) else [given]
            text = "".join(one if isinstance(one, str) else json.dumps(one) for one in texts)
            if 0 < len(text) <= MAX_INPUT_BYTES:
                (corpus / f"{path.stem}-{number}").write_bytes(b"\x40" * 4 + text.encode("utf-8", "replace"))
                (corpus / f"{path.stem}-{number}-bare").write_bytes(text.encode("utf-8", "replace"))
                # Some targets take from the first byte which API it is.
                (corpus / f"{path.stem}-{number}-api").write_bytes(
                    bytes([number % 8]) + text.encode("utf-8", "replace")
                )


if __name__ == "__main__":
    sys.exit(main())
