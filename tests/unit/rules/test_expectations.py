"""What checkers see in texts that no template's solution holds."""

from __future__ import annotations

from decimal import Decimal

import pytest

from providerrank.rules.challenges.expect_code import MAX_SOURCE, CodeIs, CodeRun
from providerrank.rules.challenges.expect_json import CallIs, ObjectIs, is_valid
from providerrank.rules.challenges.expect_text import (
    NameIs,
    NumberIs,
    OrderIs,
    TextHas,
    TimeIs,
    find_numbers,
    find_times,
)
from providerrank.rules.challenges.shape import Answer, CodeJob, Json, Reason, RunFault, RunResult, ToolCall, Verdict


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,234.50 and 7", ["1234.50", "7"]),
        ("€23.50 each.", ["23.50"]),
        ("$1,000,000", ["1000000"]),
        ("312km or 5 kg, 7EUR", ["312", "5", "7"]),
        ("ticket ABC-12345-X7Y2, 3f9a, 2024/123456, 12:30, 2025-01-02", []),
        ("1Z999AA10123456784", []),
        ("**42**", ["42"]),
        ("(3) 4, 5; 6", ["3", "4", "5", "6"]),
        ("v1.2.3", []),
        ("123kilometres", []),
    ],
)
def test_numbers_are_found_and_codes_are_not(text: str, numbers: list[str]) -> None:
    assert find_numbers(text.replace("*", "")) == [Decimal(number) for number in numbers]


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("17:05", [1025]),
        ("5:05 PM", [1025]),
        ("5.05 p.m.", [1025]),
        ("12:10 am", [10]),
        ("12:10 pm", [730]),
        ("9h30", [570]),
        ("25:00, 12:75 and 1:2", []),
        ("2025-01-02T17:05:00", []),
    ],
)
def test_times_of_day(text: str, times: list[int]) -> None:
    assert find_times(text) == times


NUMBER = NumberIs("23.50", (Decimal(4),))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("23.5", Reason.PASS),
        ("94 / 4 = 23.50", Reason.PASS),
        ("23.50 for each of the 4", Reason.PASS),
        ("It is 23.51", Reason.WRONG_ANSWER),
        ("23.50? No, 24", Reason.WRONG_ANSWER),
        ("4", Reason.WRONG_ANSWER),
        ("a few euros", Reason.NO_ANSWER),
        ("", Reason.EMPTY),
        ("<think>23.50</think>", Reason.EMPTY),
        ("<think>23.50", Reason.EMPTY),
    ],
)
def test_a_number(text: str, reason: Reason) -> None:
    assert NUMBER.check(Answer(text)) == Verdict(reason)


NAME = NameIs("Bea", ("Bea", "Bea Park", "Ben", "Beate"), ("Ben",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bea", Reason.PASS),
        ("It's Bea, not Ben.", Reason.PASS),
        ("Beate", Reason.WRONG_ANSWER),
        ("Bea Park", Reason.WRONG_ANSWER),
        ("Beatrice", Reason.NO_ANSWER),
        ("Ben", Reason.WRONG_ANSWER),
        ("  ", Reason.EMPTY),
    ],
)
def test_a_name(text: str, reason: Reason) -> None:
    assert NAME.check(Answer(text)) == Verdict(reason)


def test_a_time() -> None:
    time = TimeIs(1025, (870,))
    assert time.check(Answer("From 14:30 to **17:05**")) == Verdict(Reason.PASS)
    assert time.check(Answer("17:05, having left at 14:30")) == Verdict(Reason.PASS)
    assert time.check(Answer("14:30")) == Verdict(Reason.WRONG_ANSWER)
    assert time.check(Answer("in the afternoon")) == Verdict(Reason.NO_ANSWER)


def test_an_order_counts_last_mentions() -> None:
    order = OrderIs(("red", "green", "blue"))
    assert order.check(Answer("Of blue, red and green:\n1. Red\n2. Green\n3. Blue")) == Verdict(Reason.PASS)
    assert order.check(Answer("red, blue, green")) == Verdict(Reason.WRONG_ANSWER)
    assert order.check(Answer("red, green")) == Verdict(Reason.NO_ANSWER)
    assert order.check(Answer("")) == Verdict(Reason.EMPTY)


def test_a_text_within_rules() -> None:
    text = TextHas(("AB-1", "on Monday"), ("sorry",), 6)
    assert text.check(Answer("Your **AB-1** comes on\nMonday!")) == Verdict(Reason.PASS)
    for broken in ("AB-12 comes on Monday", "AB-1 comes", "Sorry, AB-1 comes on Monday", "AB-1 on Monday a b c d e"):
        assert text.check(Answer(broken)) == Verdict(Reason.RULE_BROKEN)
    assert text.check(Answer("")) == Verdict(Reason.EMPTY)


SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "s": {"type": "string"}, "l": {"type": "array"}},
    "required": ["n", "s"],
    "additionalProperties": False,
}
OBJECT = ObjectIs(SCHEMA, {"n": 3, "s": "Lima Room", "l": [True, {"a": 1}, None]})
RIGHT = '{"n": 3, "s": "Lima Room", "l": [true, {"a": 1}, null]}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (RIGHT, Reason.PASS),
        (RIGHT.replace("3", "3.0"), Reason.PASS),
        (RIGHT.replace("Lima Room", " lima  room "), Reason.PASS),
        (f"Of {{these}}:\n```json\n{RIGHT}\n```", Reason.PASS),
        (f"Here: {RIGHT} (done)", Reason.PASS),
        (RIGHT.replace("true", "1"), Reason.WRONG_ANSWER),
        (RIGHT.replace('{"a": 1}', '{"a": true}'), Reason.WRONG_ANSWER),
        (RIGHT.replace('{"a": 1}', '{"b": 1}'), Reason.WRONG_ANSWER),
        (RIGHT.replace('{"a": 1}', "[1]"), Reason.WRONG_ANSWER),
        (RIGHT.replace(', {"a": 1}', ""), Reason.WRONG_ANSWER),
        (RIGHT.replace("null", '""'), Reason.WRONG_ANSWER),
        (RIGHT.replace("[true", "[null"), Reason.WRONG_ANSWER),
        (RIGHT.replace("3", '"3"'), Reason.SCHEMA),
        (RIGHT.replace("3", "3.5"), Reason.SCHEMA),
        (RIGHT.replace("Lima Room", "\\ud800"), Reason.WRONG_ANSWER),
        ("[1]", Reason.SCHEMA),
        ("no JSON at all", Reason.NOT_JSON),
        ("{broken}", Reason.NOT_JSON),
        (RIGHT.replace("3", "NaN"), Reason.NOT_JSON),
        ("[" * 100_000, Reason.NOT_JSON),
        ("", Reason.EMPTY),
    ],
)
def test_an_object(text: str, reason: Reason) -> None:
    assert OBJECT.check(Answer(text)) == Verdict(reason)


def test_half_a_character_obeys_no_schema() -> None:
    assert not is_valid("\ud800", {"type": "string"})


CALL = CallIs("find", SCHEMA, {"n": 1, "s": "x"})


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([("find", '{"n":1,"s":"X"}')], Reason.PASS),
        ([], Reason.NO_CALL),
        ([("seek", '{"n":1,"s":"x"}')], Reason.WRONG_TOOL),
        ([("find", '{"n":1,"s":"x"}')] * 2, Reason.WRONG_TOOL),
        ([("find", "")], Reason.BAD_ARGUMENTS),
        ([("find", '{"n":1}')], Reason.BAD_ARGUMENTS),
        ([("find", '{"n":2,"s":"x"}')], Reason.WRONG_ANSWER),
    ],
)
def test_a_tool_call(calls: list[tuple[str, str]], reason: Reason) -> None:
    assert CALL.check(Answer("", tuple(ToolCall(*call) for call in calls))) == Verdict(reason)


CODE = CodeIs("twice", ((1,), (2,)), (2, [4]))
SOURCE = "def twice(n):\n    return n * 2\n"


@pytest.mark.parametrize(
    "text",
    [
        SOURCE,
        f"```python\n{SOURCE}```",
        f"```\n{SOURCE}```\n```python\nprint(twice(3))\n```",
        f"First try:\n```python\ndef twice(n): pass\n```\nBetter:\n```python\n{SOURCE}```",
        f"Here it is:\n{SOURCE}",
        f"```python\n{SOURCE}",
        f"```python\nPATTERN = '\\d'\nassert (1, 'always')\n{SOURCE}```",
    ],
)
def test_code_is_found_where_it_stands(text: str) -> None:
    run = CODE.check(Answer(text))
    assert isinstance(run, CodeRun)
    assert run.job == CodeJob(run.job.source, "twice", ((1,), (2,)))
    assert SOURCE.strip() in run.job.source


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.EMPTY),
        ("Use n * 2.", Reason.NO_CODE),
        ("```python\nprint(1)\n```", Reason.NO_CODE),
        (f"```python\nprint(1)\n```\n{SOURCE}", Reason.NO_CODE),
        ("def twice_more(n):\n    return n", Reason.NO_CODE),
        ("class A:\n    def twice(n): return n", Reason.NO_CODE),
        ("def twice(n:\n", Reason.SYNTAX),
        ("def twice(n): return '\0'", Reason.SYNTAX),
        ("def twice(n): return " + "(" * 5_000, Reason.SYNTAX),
        ("def twice(n): return " + "-" * 15_000 + "1", Reason.SYNTAX),
        (SOURCE + "#" * MAX_SOURCE, Reason.CODE_LIMIT),
    ],
)
def test_code_that_is_none(text: str, reason: Reason) -> None:
    assert CODE.check(Answer(text)) == Verdict(reason)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (RunResult((2, [4])), Reason.PASS),
        (RunResult((2, [5])), Reason.WRONG_ANSWER),
        (RunResult((True, [4])), Reason.WRONG_ANSWER),
        (RunResult((2.0, [4])), Reason.WRONG_ANSWER),  # type: ignore[arg-type]
        (RunResult((2,)), Reason.WRONG_ANSWER),
        (RunResult(None, RunFault.RAISED), Reason.CODE_FAILED),
        (RunResult(None, RunFault.CRASHED), Reason.CODE_FAILED),
        (RunResult(None, RunFault.LIMIT), Reason.CODE_LIMIT),
        (RunResult(None), Reason.CODE_FAILED),
    ],
)
def test_what_a_run_means(result: RunResult, reason: Reason) -> None:
    assert CodeRun(CodeJob(SOURCE, "twice", ((1,), (2,))), (2, [4])).judge(result) == Verdict(reason)


def test_reasons_fit_the_record() -> None:
    from providerrank.rules.consistency import CHECK
    from providerrank.rules.records import CHECK_NONE, CHECK_PASS, SCHEMA_CHECKS

    assert all(CHECK.fullmatch(reason) for reason in Reason)
    assert Reason.PASS.value == CHECK_PASS
    assert CHECK_NONE not in set(Reason)
    assert set(Reason) > SCHEMA_CHECKS
