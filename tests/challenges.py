"""Answers to challenges: right ones in the forms honest models give them, and wrong ones."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from providerrank.rules.challenges.expect_code import CodeIs
from providerrank.rules.challenges.expect_json import CallIs, ObjectIs
from providerrank.rules.challenges.expect_text import NameIs, NumberIs, OrderIs, TextHas, TimeIs
from providerrank.rules.challenges.shape import Answer, Challenge, Json, RunFault, RunResult, ToolCall, Verdict


def judge(challenge: Challenge, answer: Answer) -> Verdict:
    """Check an answer; code runs right here, since it is our own."""
    outcome = challenge.check(answer)
    if isinstance(outcome, Verdict):
        return outcome
    space: dict[str, object] = {}
    try:
        exec(outcome.job.source, space)
        function = space[outcome.job.function]
        outputs = [function(*call) for call in json.loads(json.dumps(outcome.job.calls))]  # type: ignore[operator]
    except Exception:  # noqa: BLE001 - what a spoilt program raises is its result
        return outcome.judge(RunResult(None, RunFault.RAISED))
    return outcome.judge(RunResult(tuple(json.loads(json.dumps(outputs)))))


def dress(answer: Answer) -> list[Answer]:
    """The same answer as other honest models would put it."""
    if answer.tool_calls:
        (call,) = answer.tool_calls
        spaced = ToolCall(call.name, json.dumps(json.loads(call.arguments), indent=2))
        return [Answer("", (spaced,)), Answer("Let me look that up.", answer.tool_calls)]
    text = answer.text
    dressed = [f"\n{text}\n", f"<think>Could it be 17, Monday or {{}}? No.</think>\n\n{text}"]
    if text.startswith("```"):
        bare = text.removeprefix("```python\n").removesuffix("\n```")
        dressed += [f"Here is the function:\n\n{text}\n\nIt handles the empty case too.", bare, f"Sure!\n\n{bare}"]
        dressed += [text.removesuffix("\n```"), text.replace("```python", "```py")]
    elif text.startswith("{"):
        pretty = json.dumps(json.loads(text), indent=4)
        dressed += [f"```json\n{pretty}\n```", f"Here you go:\n```\n{text}\n```\nAnything else?", f"JSON: {text}"]
        dressed += [json.dumps(json.loads(text), sort_keys=True)]
    else:
        dressed += [f"**{text}**", f"`{text}`", f"Answer: {text}"]
    return [Answer(one) for one in dressed]


def spoil(challenge: Challenge, rng: random.Random) -> list[Answer]:
    """Answers that are wrong in one thing."""
    expectation, solution = challenge.expectation, challenge.solution
    common = [Answer(""), Answer("   "), Answer("I'm sorry, I can't help with that.")]
    match expectation:
        case NumberIs():
            right = expectation.expected
            digit = str((int(right[0]) + 1) % 9 + 1)
            return [*common, Answer(digit + right[1:]), Answer(right + "1"), Answer(f"{right}, no: {digit}{right}")]
        case TimeIs():
            later_times = [(expectation.expected_minutes + later) % 1440 for later in (1, 10, 60, 720)]
            # (What the question told may be said beside the answer: it is not another answer.)
            other = rng.choice([minutes for minutes in later_times if minutes not in expectation.given])
            wrong = f"{other // 60:02}:{other % 60:02}"
            return [*common, Answer(wrong), Answer(f"{solution.text} or rather {wrong}")]
        case NameIs():
            others = [name for name in expectation.candidates if name != expectation.expected]
            return [*common, *(Answer(rng.choice(others)) for _ in range(3)), Answer("none of them")]
        case OrderIs():
            items = list(expectation.items)
            at = rng.randrange(len(items) - 1)
            swapped = [*items[:at], items[at + 1], items[at], *items[at + 2 :]]
            return [*common, Answer(", ".join(swapped)), Answer(", ".join(items[1:])), Answer(", ".join(items[::-1]))]
        case TextHas():
            text = solution.text
            wrongs = [text.replace(word, "it") for word in expectation.required]
            wrongs += [f"{text} {expectation.forbidden[0]}.", text + " really" * expectation.max_words]
            return [*common, *map(Answer, wrongs)]
        case ObjectIs():
            wrong_values = [Answer(json.dumps(value)) for value in _mutate_object(expectation.expected)]
            return [*common, *wrong_values, Answer(solution.text[:-1]), Answer("[" + solution.text + "]")]
        case CallIs():
            wrong_calls = [
                Answer(tool_calls=(ToolCall(expectation.name, json.dumps(value)),))
                for value in _mutate_object(expectation.arguments)
            ]
            (call,) = solution.tool_calls
            return [
                *common,
                *wrong_calls,
                Answer(solution.tool_calls[0].arguments),
                Answer(tool_calls=(call, call)),
                Answer(tool_calls=(replace(call, name="other"),)),
                Answer(tool_calls=(replace(call, arguments="{"),)),
            ]
        case CodeIs():
            source = solution.text
            name = expectation.function
            return [
                *common,
                Answer(source.replace(f"def {name}", "def other")),
                Answer(source.replace("return ", "return not ", 1)),
                Answer(f"```python\ndef {name}(*args):\n    return None\n```"),
                Answer(f"```python\ndef {name}(*args):\n    raise SystemError\n```"),
                Answer(f"```python\ndef {name}(*args:\n```"),
                Answer(f"Use {name} from the library."),
                Answer("```python\nprint('hello')\n```"),
            ]
    raise AssertionError(expectation)


def _mutate_object(value: dict[str, Json]) -> list[dict[str, Json]]:
    """Each with one key lost, added, or its value changed."""
    mutated: list[dict[str, Json]] = [{**value, "extra": 1}]
    for name, held in value.items():
        mutated.append({other: kept for other, kept in value.items() if other != name})
        mutated += [{**value, name: wrong} for wrong in _mutate(held)]
    return mutated


def _mutate(value: Json) -> list[Json]:
    match value:
        case bool():
            return [not value, int(value), None]
        case int():
            return [value + 1, str(value), None]
        case str():
            return [value + "x", 1, None]
        case list():
            changed: list[Json] = [value[:-1], [*value, value[-1]], None]
            if len(value) > 1 and value[0] != value[1]:
                changed.append([value[1], value[0], *value[2:]])
            inner = _mutate_object(value[0]) if isinstance(value[0], dict) else _mutate(value[0])
            return changed + [[wrong, *value[1:]] for wrong in inner]
        case _:
            return [1]
