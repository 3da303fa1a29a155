"""Code: a small Python function from a description, judged by what it returns for inputs the description does not hold.

Each template has the function three times: as words for the prompt, as Python here that computes what must be returned,
and as source text, the solution. Tests run the third against the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import dedent

from providerrank.rules.challenges.draw import Draw
from providerrank.rules.challenges.expect_code import CodeIs
from providerrank.rules.challenges.prose import CLEAR, draw_context, draw_messages, draw_reference
from providerrank.rules.challenges.shape import Answer, Filled, Json
from providerrank.rules.challenges.vocabulary import (
    CITIES,
    COLOURS,
    FIELDS,
    FIRST_NAMES,
    GROUPS,
    INGREDIENTS,
    PRODUCTS,
    TEAMS,
)

CALLS = 8
"""Inputs each function is tried on, beside the empty one."""

ASKS = (
    "Reply with the code only.",
    "Just the function, no explanation.",
    "Only the code please, standard library is fine.",
    "Please answer with a single Python code block.",
    "No tests or usage example needed, only the function.",
)


def fill_totals(draw: Draw) -> Filled:
    """Totals by group of the rows that reach a threshold."""
    group, field = draw.pick(GROUPS), draw.pick(FIELDS)
    limit = draw.integer(5, 60)
    is_least = draw.below(2) == 0
    name = draw.pick(("total_by_{0}", "{1}_per_{0}", "sum_{1}_by_{0}", "{0}_totals")).format(group, field)

    def draw_call() -> tuple[Json, ...]:
        keys = draw.sample(CITIES, 3)
        rows: list[Json] = [{group: draw.pick(keys), field: draw.integer(0, 90)} for _ in range(draw.integer(1, 9))]
        return (rows,)

    def compute(rows: Sequence[dict[str, int]]) -> Json:
        totals: dict[str, Json] = {}
        sums: dict[str, int] = {}
        for row in rows:
            if (row[field] >= limit) if is_least else (row[field] <= limit):
                key = str(row[group])
                sums[key] = sums.get(key, 0) + row[field]
        totals.update(sums)
        return totals

    words = (
        f"that takes a list of dicts, each with a {group!r} (string) and a {field!r} (integer). Leave out every row "
        f"whose {field} is {'below' if is_least else 'above'} {limit}, and return a dict from {group} to the sum of "
        f"{field} of the rows that are left. Leave groups with no rows out."
    )
    source = f"""
        def {name}(rows):
            totals = {{}}
            for row in rows:
                if row[{field!r}] {">=" if is_least else "<="} {limit}:
                    totals[row[{group!r}]] = totals.get(row[{group!r}], 0) + row[{field!r}]
            return totals
    """
    return _build(draw, f"{name}(rows)", words, source, _draw_calls(draw_call, ([],)), compute)


def fill_pairs(draw: Draw) -> Filled:
    """Settings out of one line of text."""
    between, equals = draw.pick((";", "|", ",", "&")), draw.pick(("=", ":", "->", "~"))
    comment = draw.pick(("#", "!", "%", "//"))
    name = draw.pick(("parse_{}", "read_{}", "{}_from_text", "load_{}")).format(
        draw.pick(("settings", "options", "pairs", "fields", "params", "labels", "headers", "tags"))
    )

    def draw_call() -> tuple[Json, ...]:
        parts = []
        for _ in range(draw.integer(1, 6)):
            key, value = draw.pick(FIELDS), draw.pick(COLOURS)
            parts.append(
                draw.pick(("{k}{e}{v}", " {k} {e} {v} ", "{c}{k}{e}{v}", " {c} {k}{e}{v}", "{k}", "{k}{e}")).format(
                    k=key, e=equals, v=value, c=comment
                )
            )
        return (between.join(parts),)

    def compute(text: str) -> Json:
        found: dict[str, Json] = {}
        for raw in text.split(between):
            part = raw.strip()
            if part and not part.startswith(comment) and equals in part:
                key, _, value = part.partition(equals)
                found[key.strip()] = value.strip()
        return found

    words = (
        f"that takes a string of entries separated by {between!r}, where an entry is a key, {equals!r} and a value. "
        f"Strip white space around entries, keys and values. Ignore entries that are empty, that start with "
        f"{comment!r} (after stripping) or that have no {equals!r} in them; split at the first {equals!r}. Return a "
        "dict of strings; if a key comes twice the later one wins, and a value may be empty."
    )
    source = f"""
        def {name}(text):
            found = {{}}
            for part in text.split({between!r}):
                part = part.strip()
                if not part or part.startswith({comment!r}) or {equals!r} not in part:
                    continue
                key, value = part.split({equals!r}, 1)
                found[key.strip()] = value.strip()
            return found
    """
    return _build(draw, f"{name}(text)", words, source, _draw_calls(draw_call, ("",)), compute)


def fill_slug(draw: Draw) -> Filled:
    """A title as part of a URL."""
    joint, most = draw.pick(("-", "_", ".", "+")), draw.integer(12, 30)
    name = draw.pick(("make_{}", "{}_for", "to_{}", "build_{}")).format(
        draw.pick(("slug", "handle", "file_name", "anchor", "short_id", "path_part"))
    )

    def draw_call() -> tuple[Json, ...]:
        words = draw.sample((*PRODUCTS, *CITIES, *TEAMS), draw.integer(1, 4))
        marks = (" ", "  ", " - ", "/", ", ", "!! ", "_", " & ", "...")
        text = "".join(draw.pick((word.title(), word.upper(), word)) + draw.pick(marks) for word in words)
        return (draw.pick(("", " ", "--")) + text + str(draw.integer(1, 99)) + draw.pick(("", " ", "?")),)

    def compute(text: str) -> Json:
        spaced = "".join(mark if mark.isascii() and mark.isalnum() else " " for mark in text.lower())
        return joint.join(spaced.split())[:most].rstrip(joint)

    words = (
        f"that turns a title into lower case, replaces every run of characters other than a-z and 0-9 with a single "
        f"{joint!r}, leaves no {joint!r} at the start or end, cuts the result to at most {most} characters, and after "
        f"cutting removes a {joint!r} left at the end."
    )
    source = f"""
        import re

        def {name}(text):
            joined = re.sub(r"[^a-z0-9]+", {joint!r}, text.lower()).strip({joint!r})
            return joined[:{most}].rstrip({joint!r})
    """
    return _build(draw, f"{name}(text)", words, source, _draw_calls(draw_call, ("",)), compute)


def fill_chunks(draw: Draw) -> Filled:
    """A list in pieces of one size, the last one filled up."""
    size, start = draw.integer(2, 7), draw.integer(0, 3)
    filler: Json = draw.pick((0, -1, "", "-", None))
    name = draw.pick(("split_into_{}", "make_{}", "{}_of_rows", "group_in_{}")).format(
        draw.pick(("batches", "pages", "chunks", "columns", "lots", "trays"))
    )

    def draw_call() -> tuple[Json, ...]:
        items: list[Json] = [draw.integer(1, 99) for _ in range(draw.integer(1, 20))]
        return (items,)

    def compute(items: list[Json]) -> Json:
        rest = items[start:]
        pieces: list[Json] = []
        for at in range(0, len(rest), size):
            piece = rest[at : at + size]
            pieces.append(piece + [filler] * (size - len(piece)))
        return pieces

    skipping = f"skips its first {start} item(s), and " if start else ""
    words = (
        f"that takes a list, {skipping}returns the rest as a list of lists of {size} items each, in order. If the last "
        f"one is shorter, fill it up with {filler!r}. Nothing left gives an empty list."
    )
    source = f"""
        def {name}(items):
            rest = list(items)[{start}:]
            pieces = [rest[at:at + {size}] for at in range(0, len(rest), {size})]
            if pieces:
                pieces[-1] += [{filler!r}] * ({size} - len(pieces[-1]))
            return pieces
    """
    return _build(draw, f"{name}(items)", words, source, _draw_calls(draw_call, ([],)), compute)


def fill_merge(draw: Draw) -> Filled:
    """Time spans that touch or nearly touch, made one."""
    gap, least = draw.integer(0, 15), draw.integer(1, 12)
    name = draw.pick(("merge_{}", "join_{}", "combine_{}", "flatten_{}")).format(
        draw.pick(("spans", "bookings", "shifts", "outages", "ranges", "visits", "slots"))
    )

    def draw_call() -> tuple[Json, ...]:
        spans: list[Json] = []
        for _ in range(draw.integer(1, 7)):
            begin = draw.integer(0, 150)
            spans.append([begin, begin + draw.integer(0, 30)])
        return (spans,)

    def compute(spans: list[list[int]]) -> Json:
        merged: list[list[int]] = []
        for begin, end in sorted(spans):
            if merged and begin - merged[-1][1] <= gap:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([begin, end])
        return [[begin, end] for begin, end in merged if end - begin >= least]

    words = (
        f"that takes a list of [start, end] pairs of integers in any order. Merge two pairs when they overlap or when "
        f"the later one starts at most {gap} after the end of the earlier one; keep merging until nothing more can be "
        f"merged. Then drop every pair shorter than {least} (end minus start), and return the rest as a list of "
        "[start, end] lists sorted by start."
    )
    source = f"""
        def {name}(spans):
            merged = []
            for start, end in sorted(spans):
                if merged and start - merged[-1][1] <= {gap}:
                    merged[-1][1] = max(merged[-1][1], end)
                else:
                    merged.append([start, end])
            return [span for span in merged if span[1] - span[0] >= {least}]
    """
    return _build(draw, f"{name}(spans)", words, source, _draw_calls(draw_call, ([],)), compute)


def fill_backoff(draw: Draw) -> Filled:
    """Waits between tries, growing up to a bound."""
    first, factor = draw.integer(1, 20) * 50, draw.integer(2, 4)
    most, every = draw.integer(20, 90) * 100, draw.integer(2, 5)
    name = draw.pick(("{}_schedule", "{}_times", "plan_{}", "list_{}")).format(
        draw.pick(("retry", "backoff", "waits", "pauses", "polling", "reconnect"))
    )

    def draw_call() -> tuple[Json, ...]:
        return (draw.integer(1, 16),)

    def compute(tries: int) -> Json:
        waits: list[Json] = []
        wait = first
        for number in range(1, tries + 1):
            waits.append(min(wait, most))
            if number % every == 0:
                wait *= factor
        return waits

    words = (
        f"that takes the number of tries and returns the list of waits in milliseconds, one integer for each try. The "
        f"first wait is {first}; after every {every} tries the wait is multiplied by {factor}; no wait in the list "
        f"is above {most}. Zero tries give an empty list."
    )
    source = f"""
        def {name}(tries):
            return [min({first} * {factor} ** (number // {every}), {most}) for number in range(tries)]
    """
    return _build(draw, f"{name}(tries)", words, source, _draw_calls(draw_call, (0,)), compute)


def fill_check_digit(draw: Draw) -> Filled:
    """The check digit of a number, by weights of their own."""
    weights = [draw.integer(1, 9) for _ in range(draw.integer(2, 4))]
    base = draw.pick((7, 9, 10, 11, 13, 97))
    name = draw.pick(("{}_check", "check_digit_for_{}", "verify_{}", "{}_control")).format(
        draw.pick(("card", "voucher", "locker", "member", "parcel", "badge", "meter"))
    )

    def draw_call() -> tuple[Json, ...]:
        groups = [draw.letters("0123456789", draw.integer(1, 5)) for _ in range(draw.integer(1, 4))]
        return (draw.pick(("-", " ", "/")).join(groups),)

    def compute(code: str) -> Json:
        digits = [int(mark) for mark in code if mark.isdigit()]
        return sum(digit * weights[at % len(weights)] for at, digit in enumerate(digits)) % base

    words = (
        f"that takes a string, ignores everything in it that is not a digit, multiplies the digits from left to right "
        f"by the weights {', '.join(map(str, weights))} (starting over when they run out), adds the products and "
        f"returns the remainder of the sum divided by {base} as an integer. No digits give 0."
    )
    source = f"""
        def {name}(code):
            weights = {weights!r}
            digits = [int(mark) for mark in code if mark.isdigit()]
            return sum(digit * weights[at % len(weights)] for at, digit in enumerate(digits)) % {base}
    """
    return _build(draw, f"{name}(code)", words, source, _draw_calls(draw_call, ("",)), compute)


TEMPLATES: tuple[Callable[[Draw], Filled], ...] = (
    fill_totals,
    fill_pairs,
    fill_slug,
    fill_chunks,
    fill_merge,
    fill_backoff,
    fill_check_digit,
)

LEADS = (
    "Write a Python function `{signature}`",
    "I need a Python function `{signature}`",
    "Could you write `{signature}` in Python: a function",
    "Please implement a Python function `{signature}`",
)


def _draw_calls(draw_call: Callable[[], tuple[Json, ...]], edge: tuple[Json, ...]) -> list[tuple[Json, ...]]:
    return [draw_call() for _ in range(CALLS)] + [edge]


def _build(
    draw: Draw,
    signature: str,
    words: str,
    source: str,
    calls: list[tuple[Json, ...]],
    compute: Callable[..., Json],
) -> Filled:
    """Put prompt and expectation together; the first call is the prompt's example, and is not judged."""
    reference = draw_reference(draw)
    example, *rest = [(call, compute(*call)) for call in calls]
    name = signature.partition("(")[0]
    shown = f"For example `{name}({', '.join(map(repr, example[0]))})` gives `{example[1]!r}`."
    helper = draw.letters(CLEAR.lower(), 4)
    notes = draw.pick(
        (
            "",
            f" It goes into utils_{helper}.py.",
            f" The branch is fix/{helper}.",
            f" We call it from {draw.pick(FIRST_NAMES)}'s script.",
            f" It's for the {draw.pick(INGREDIENTS)} inventory.",
        )
    )
    lead = draw.pick(LEADS).format(signature=signature)
    text = f"{draw_context(draw, reference)}{lead} {words} {shown}{notes} {draw.pick(ASKS)}"
    expectation = CodeIs(name, tuple(call for call, _ in rest), tuple(output for _, output in rest))
    return Filled(
        draw_messages(draw, text), expectation, Answer(f"```python\n{dedent(source).strip()}\n```"), reference
    )
