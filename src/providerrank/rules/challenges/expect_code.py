"""Right answers that are programs: a Python function that returns what it should for inputs it was not shown.

Here the source is only found and parsed; a ``CodeRunner`` runs it. The expected results stay on this side (see
``CodeJob``).
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from dataclasses import dataclass

from providerrank.rules.challenges.expect_json import FENCE
from providerrank.rules.challenges.expect_text import THINKING
from providerrank.rules.challenges.shape import (
    PASS,
    Answer,
    CodeJob,
    Json,
    Reason,
    RunFault,
    RunResult,
    Verdict,
)

MAX_SOURCE = 20_000
"""Characters; an answer of a thousand tokens has a fifth of it."""
BARE = re.compile(r"^(?:def|import|from|class|@|async def)\b.*", re.MULTILINE | re.DOTALL)
"""Code without a fence: from the first line that looks like a program's."""

GRAMMAR = (3, 11)
"""The Python that answers are held to, as far as a newer interpreter can tell."""

FAULTS = {
    RunFault.RAISED: Reason.CODE_FAILED,
    RunFault.CRASHED: Reason.CODE_FAILED,
    RunFault.LIMIT: Reason.CODE_LIMIT,
}


@dataclass(frozen=True, slots=True)
class CodeRun:
    """A verdict that waits for its run."""

    job: CodeJob
    outputs: tuple[Json, ...]
    """What each call must return."""

    def judge(self, result: RunResult) -> Verdict:
        """Compare what came back, types and all (1 is not true, and not 1.0)."""
        if result.outputs is None:
            return Verdict(FAULTS[result.fault or RunFault.CRASHED])
        return PASS if _freeze(result.outputs) == _freeze(self.outputs) else Verdict(Reason.WRONG_ANSWER)


@dataclass(frozen=True, slots=True)
class CodeIs:
    """The answer holds a function of this name that returns ``outputs`` for ``calls``."""

    function: str
    calls: tuple[tuple[Json, ...], ...]
    outputs: tuple[Json, ...]

    def check(self, answer: Answer) -> Verdict | CodeRun:
        """Find the function; what it does is for the run to show."""
        text = THINKING.sub("", answer.text).strip()
        if not text:
            return Verdict(Reason.EMPTY)
        if len(text) > MAX_SOURCE:
            return Verdict(Reason.CODE_LIMIT)
        source = find_source(text, self.function)
        if source is None:
            return Verdict(Reason.NO_CODE)
        tree = parse(source)
        if tree is None:
            return Verdict(Reason.SYNTAX)
        if not any(isinstance(node, ast.FunctionDef) and node.name == self.function for node in tree.body):
            return Verdict(Reason.NO_CODE)
        return CodeRun(CodeJob(source, self.function, self.calls), self.outputs)


def find_source(text: str, function: str) -> str | None:
    """Find the program in an answer: the last fenced block that defines the function, else what looks like one."""
    named = f"def {function}"
    blocks: list[str] = FENCE.findall(text)
    for block in reversed(blocks):
        if named in block:
            return block
    bare = BARE.search(text)
    return bare.group() if bare is not None and named in bare.group() and not blocks else None


def parse(source: str) -> ast.Module | None:
    """Parse Python, whatever it is; None for what is none. What it warns of is the model's affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source, feature_version=GRAMMAR)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _freeze(values: tuple[Json, ...]) -> str:
    return json.dumps(values, sort_keys=True)
