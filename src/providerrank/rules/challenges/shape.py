"""What a challenge is: a request anyone can rebuild, and an objective way to judge its answer.

No model judges anything. An *expectation* knows the right answer and finds it, or does not, in what came back; honest
models wrap answers in fences, bold type and a sentence of courtesy, so it looks past those, and past nothing else.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
"""What a request body is made of: no fractions, so that it has one canonical encoding."""


class Reason(enum.StrEnum):
    """Short code of a verdict, as it stands in ``Record.check``. Codes are added, never renamed."""

    PASS = "pass"
    EMPTY = "empty"
    """No text where text was asked for."""
    WRONG_ANSWER = "wrong_answer"
    """There is an answer, and it is another one."""
    NO_ANSWER = "no_answer"
    """Nothing in the text looks like an answer of the kind asked for."""
    NOT_JSON = "not_json"
    SCHEMA = "schema"
    """JSON that breaks the schema the request set."""
    NO_CALL = "no_call"
    """No tool was called."""
    WRONG_TOOL = "wrong_tool"
    """Another tool, or more than one call."""
    BAD_ARGUMENTS = "bad_arguments"
    """The call's arguments are not JSON, or break the tool's schema."""
    NO_CODE = "no_code"
    """No Python in the answer, or not the function asked for."""
    SYNTAX = "syntax"
    CODE_FAILED = "code_failed"
    """The code raised, crashed, or answered with something that is no JSON."""
    CODE_LIMIT = "code_limit"
    """The code ran past its time, memory or output."""
    RULE_BROKEN = "rule_broken"
    """A text without a word it must have, with one it must not have, or too long."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a checker says."""

    reason: Reason

    @property
    def passed(self) -> bool:
        """Whether the answer met its challenge."""
        return self.reason is Reason.PASS


PASS = Verdict(Reason.PASS)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call an answer makes; ``arguments`` is text, as it came."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its text (empty where there is none) and its tool calls in order."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Pinned:
    """The parameters every run of a challenge must use."""

    seed: int
    max_tokens: int
    temperature_milli: int = 0
    """Thousandths. 0: the model's likeliest answer, so that two honest runs agree as far as the endpoint lets them."""
    stop: tuple[str, ...] = ()
    """Sent only where there are any: some APIs refuse an empty list."""

    def get_fields(self) -> dict[str, Json]:
        """As they are hashed: all of them, integers and strings."""
        return {
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "stop": list(self.stop),
            "temperature_milli": self.temperature_milli,
        }

    def get_body(self) -> dict[str, Json]:
        """As they are sent. Raises ``ValueError`` for a temperature that is no integer, which has no canonical form."""
        temperature, rest = divmod(self.temperature_milli, 1000)
        if rest:
            raise ValueError(f"temperature_milli {self.temperature_milli}: a request body holds whole numbers only")
        body: dict[str, Json] = {"max_tokens": self.max_tokens, "seed": self.seed, "temperature": temperature}
        if self.stop:
            body["stop"] = list(self.stop)
        return body


@dataclass(frozen=True, slots=True)
class CodeJob:
    """Code to run somewhere safe: define ``source``, call ``function`` with each of ``calls``, tell what it returned.

    The expected results are not in it. Whatever the code does to assertions, to the interpreter or to the place it
    runs in, it passes by returning the right values for inputs it has never seen, or not at all.
    """

    source: str
    function: str
    calls: tuple[tuple[Json, ...], ...]


class RunFault(enum.StrEnum):
    """Why a job has no results."""

    RAISED = "raised"
    """The code raised, exited, or has no such function."""
    LIMIT = "limit"
    """Past its time, memory or output."""
    CRASHED = "crashed"
    """The process died, or said something that is no result."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a job: one JSON value for each call, or why not."""

    outputs: tuple[Json, ...] | None
    fault: RunFault | None = None


class CodeRunner(Protocol):
    """The port that runs what nobody trusts."""

    async def run(self, job: CodeJob) -> RunResult:
        """Run a job. Raises the engine's own error where it cannot isolate it; never runs it unprotected."""
        ...


class Pending(Protocol):
    """A verdict that waits for code to be run."""

    @property
    def job(self) -> CodeJob:
        """What to run."""
        ...

    def judge(self, result: RunResult) -> Verdict:
        """Say what the result means."""
        ...


class Expectation(Protocol):
    """What an answer must be."""

    def check(self, answer: Answer) -> Verdict | Pending:
        """Judge an answer, or say what has to be run first."""
        ...


@dataclass(frozen=True, slots=True)
class Filled:
    """A template filled in: the conversation, what else the request carries, and what must come back."""

    messages: tuple[dict[str, Json], ...]
    expectation: Expectation
    solution: Answer
    """An answer that passes: for tests, and for simulated endpoints."""
    nonce: str
    """Random text that stands in the prompt, so that no two challenges share one."""
    extras: tuple[tuple[str, Json], ...] = ()
    """More fields of the body: tools, response_format."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One task instance. ``body`` is a chat request without ``model`` and ``stream``, which the sender adds."""

    task: str
    template: str
    index: int
    body: dict[str, Json]
    pinned: Pinned
    expectation: Expectation
    solution: Answer
    nonce: str
    bits: float
    """Base-2 logarithm of how many ways its choices could have fallen."""

    def check(self, answer: Answer) -> Verdict | Pending:
        """Judge an answer; code comes back pending, with a job for a ``CodeRunner``."""
        return self.expectation.check(answer)
