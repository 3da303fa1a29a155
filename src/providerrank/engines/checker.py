"""Judges answers, running what is code in the sandbox."""

from __future__ import annotations

from providerrank.engines.errors import SandboxUnavailableError
from providerrank.engines.sandbox import Sandbox
from providerrank.rules.challenges.shape import Answer, Challenge, CodeRunner, Verdict


class SandboxChecker:
    """A ``market.asking.Checker``."""

    def __init__(self, runner: CodeRunner | None = None) -> None:
        self._runner: CodeRunner = runner or Sandbox()

    async def check(self, challenge: Challenge, answer: Answer) -> str | None:
        """The verdict's code; None where code cannot be isolated here."""
        found = challenge.check(answer)
        if isinstance(found, Verdict):
            return str(found.reason)
        try:
            return str(found.judge(await self._runner.run(found.job)).reason)
        except SandboxUnavailableError:
            return None
