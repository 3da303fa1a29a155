"""Right answers that are read out of a text: a number, a name, a time of day, an order, a text within rules.

What an honest model adds is passed over: bold type, quotes, a thinking block, a sentence around the answer, the
question's own figures said again. What counts is the *last* thing of the kind asked for that the question did not hold
already; an answer that lists every possibility passes only by ending on the right one, as an answer does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from providerrank.rules.challenges.shape import PASS, Answer, Reason, Verdict

THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
MARKS = re.compile(r"\*\*|__|`")
NUMBER = re.compile(r"(?<![\w.\-/:#])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?=[A-Za-z]{0,3}(?![\w:/-]))")
"""Figures, with or without commas for thousands and a short unit behind; not parts of codes, dates or times."""
TIME = re.compile(r"(?<![\d:.])(\d{1,2})[:.h](\d{2})(?![\d:])\s*([ap])?\.?(?:m\b)?", re.IGNORECASE)
NOON_MINUTES = 12 * 60
DAY_MINUTES = 24 * 60
MAX_CHARACTERS = 20_000
"""Of an answer that are looked at: far past what ``max_tokens`` allows, and soon searched through."""


def clean(text: str) -> str:
    """Take away a thinking block and what only sets type."""
    return MARKS.sub("", THINKING.sub("", text[:MAX_CHARACTERS])).strip()


def find_numbers(text: str) -> list[Decimal]:
    """All figures of a text, in order."""
    return [Decimal(found.replace(",", "")) for found in NUMBER.findall(text)]


@dataclass(frozen=True, slots=True)
class NumberIs:
    """The answer is a number, compared by value (23.5 is 23.50)."""

    expected: str
    given: tuple[Decimal, ...] = ()
    """Figures of the question, which an answer may say again; never the expected one."""

    def check(self, answer: Answer) -> Verdict:
        """Judge by the last figure that is not the question's."""
        return _judge_last(answer, find_numbers(clean(answer.text)), self.given, Decimal(self.expected))


@dataclass(frozen=True, slots=True)
class TimeIs:
    """The answer is a time of day, on a clock of 12 or 24 hours."""

    expected_minutes: int
    """After midnight."""
    given: tuple[int, ...] = ()

    def check(self, answer: Answer) -> Verdict:
        """Judge by the last time that is not the question's."""
        return _judge_last(answer, find_times(clean(answer.text)), self.given, self.expected_minutes)


def find_times(text: str) -> list[int]:
    """All times of day of a text, in minutes after midnight, in order."""
    found: list[int] = []
    for hours, minutes, half in TIME.findall(text):
        at = int(hours) * 60 + int(minutes)
        if half:
            at = at % NOON_MINUTES + (NOON_MINUTES if half in "pP" else 0)
        if at < DAY_MINUTES and int(minutes) < 60:
            found.append(at)
    return found


@dataclass(frozen=True, slots=True)
class NameIs:
    """The answer is one of some names, whatever their case."""

    expected: str
    candidates: tuple[str, ...]
    """All that could be mistaken for the answer, the answer among them."""
    given: tuple[str, ...] = ()
    """Candidates that stand in the question's last words, and would be said again."""

    def check(self, answer: Answer) -> Verdict:
        """Judge by the last candidate named."""
        longest_first = sorted(self.candidates, key=len, reverse=True)
        pattern = r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)"
        found = [name.casefold() for name in re.findall(pattern, clean(answer.text), re.IGNORECASE)]
        given = tuple(name.casefold() for name in self.given)
        return _judge_last(answer, found, given, self.expected.casefold())


@dataclass(frozen=True, slots=True)
class OrderIs:
    """The answer is a list of things in one order; each thing counts where it was named last."""

    items: tuple[str, ...]

    def check(self, answer: Answer) -> Verdict:
        """Judge by the order of the last mentions."""
        text = clean(answer.text).casefold()
        if not text:
            return Verdict(Reason.EMPTY)
        places = [text.rfind(item.casefold()) for item in self.items]
        if min(places) < 0:
            return Verdict(Reason.NO_ANSWER)
        return PASS if places == sorted(places) else Verdict(Reason.WRONG_ANSWER)


@dataclass(frozen=True, slots=True)
class TextHas:
    """The answer is a text of its own that keeps to rules: words it must and must not have, and its length."""

    required: tuple[str, ...]
    forbidden: tuple[str, ...]
    max_words: int

    def check(self, answer: Answer) -> Verdict:
        """Judge rule by rule."""
        text = clean(answer.text)
        if not text:
            return Verdict(Reason.EMPTY)
        folded = " ".join(text.casefold().split())
        kept = (
            all(_has_word(folded, word) for word in self.required)
            and not any(_has_word(folded, word) for word in self.forbidden)
            and len(text.split()) <= self.max_words
        )
        return PASS if kept else Verdict(Reason.RULE_BROKEN)


def _has_word(folded: str, word: str) -> bool:
    return re.search(r"(?<!\w)" + re.escape(word.casefold()) + r"(?!\w)", folded) is not None


def _judge_last(answer: Answer, found: Sequence[object], given: Sequence[object], expected: object) -> Verdict:
    new = [value for value in found if value not in given]
    if new:
        return PASS if new[-1] == expected else Verdict(Reason.WRONG_ANSWER)
    if not clean(answer.text):
        return Verdict(Reason.EMPTY)
    return Verdict(Reason.WRONG_ANSWER if found else Reason.NO_ANSWER)
