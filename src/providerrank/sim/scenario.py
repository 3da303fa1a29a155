"""Scenario files: a world of endpoints and what happens to them, in TOML.

    seed = 7

    [[endpoints]]
    name = "alpha"
    port = 9101                                  # left out: any free one
    ttft = { median = 0.3, sigma = 0.25 }        # seconds; log-normal
    tokens_per_s = 80
    success = 0.99
    faults = { cut_abort = 0.01, rate_limit = 0.02 }
    price = { input = 0.2, output = 0.6 }        # USD per million tokens
    timeline = [
      { at = 10, do = "down" },
      { at = 30, do = "up" },
      { at = 40, do = "rate_limit", for = 5 },
      { at = 50, do = "set", ttft = { median = 3.0 }, tokens_per_s = 5, for = 20 },
    ]

Every mistake is found before anything starts, and all of them at once; each says where and what would do.
"""

from __future__ import annotations

import difflib
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from providerrank.sim.faults import Fault
from providerrank.sim.spec import EndpointSpec, Event

EVENTS = ("down", "up", "set")
"""What can happen beside the faults."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A world: its endpoints and the seed of its chance."""

    endpoints: tuple[EndpointSpec, ...]
    seed: int = 0


class ScenarioError(ValueError):
    """A scenario that cannot be played. ``mistakes`` are sentences, each with its place."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file; raises ``ScenarioError`` with every mistake, ``OSError`` where there is no file."""
    try:
        return parse_scenario(Path(path).read_text("utf-8"))
    except ScenarioError as error:
        raise ScenarioError([f"{path}: {mistake}" for mistake in error.mistakes]) from None


def parse_scenario(text: str) -> Scenario:
    """Parse a scenario; raises ``ScenarioError`` with every mistake."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError([f"not TOML: {error}"]) from None
    mistakes = _unknown_keys(document, {"endpoints", "seed"}, "")
    seed = document.get("seed", 0)
    if not isinstance(seed, int):
        mistakes.append(f"seed: expected a whole number, got {seed!r}")
    tables = document.get("endpoints")
    if not isinstance(tables, list) or not tables:
        raise ScenarioError([*mistakes, "no endpoints: a scenario needs at least one [[endpoints]] table"])
    endpoints = []
    mistakes += _duplicates(tables)
    for index, table in enumerate(tables):
        place = f"endpoints[{index}]"
        if isinstance(table, dict) and isinstance(table.get("name"), str):
            place += f" ({table['name']})"
        spec, found = _endpoint(table, place)
        mistakes += found
        if spec is not None:
            endpoints.append(spec)
    if mistakes:
        raise ScenarioError(mistakes)
    return Scenario(endpoints=tuple(endpoints), seed=seed)


def _endpoint(table: object, place: str) -> tuple[EndpointSpec | None, list[str]]:
    """Convert one table; what is wrong is said key by key."""
    if not isinstance(table, dict):
        return None, [f"{place}: expected a table, got {table!r}"]
    fields = {field.encode_name: field for field in msgspec.structs.fields(EndpointSpec)}
    mistakes = _unknown_keys(table, set(fields), f"{place}.")
    if "name" not in table:
        mistakes.append(f"{place}: name is missing")
    for key, field in fields.items():
        if key in table:
            mistakes += _value_mistakes(table[key], field, f"{place}.{key}")
    if mistakes:
        return None, mistakes
    spec = msgspec.convert(table, EndpointSpec)
    return spec, _spec_mistakes(spec, place)


def _value_mistakes(value: object, field: msgspec.structs.FieldInfo, place: str) -> list[str]:
    """Say what is wrong with one value of an endpoint."""
    mistakes = []
    if field.encode_name == "faults" and isinstance(value, dict):
        mistakes = [f"{place}.{name}: {_no_such_fault(name)}" for name in value if name not in _fault_names()]
    elif field.encode_name == "timeline" and isinstance(value, list):
        for number, event in enumerate(value):
            mistakes += _event_mistakes(event, f"{place}[{number}]")
    elif field.encode_name == "fault_on_failure" and isinstance(value, str) and value not in _fault_names():
        mistakes = [f"{place}: {_no_such_fault(value)}"]
    if mistakes:
        return mistakes
    try:
        msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        return [f"{place}: {_spoken(error)}"]
    return []


def _event_mistakes(event: object, place: str) -> list[str]:
    """Say what is wrong with an event."""
    if not isinstance(event, dict):
        return [f'{place}: expected a table such as {{ at = 10, do = "down" }}, got {event!r}']
    known = {field.encode_name for field in msgspec.structs.fields(Event)}
    mistakes = _unknown_keys(event, known, f"{place}.")
    do = event.get("do")
    if isinstance(do, str) and do not in EVENTS and do not in _fault_names():
        mistakes.append(f"{place}.do: {_no_such_fault(do, EVENTS)}")
    try:
        made = msgspec.convert({key: value for key, value in event.items() if key in known}, Event)
    except msgspec.ValidationError as error:
        return [*mistakes, f"{place}: {_spoken(error)}"]
    changes = [key for key in ("ttft", "tokens_per_s", "success", "price") if getattr(made, key) is not None]
    if made.do == "set" and not changes:
        mistakes.append(f'{place}: do = "set" sets nothing; give ttft, tokens_per_s, success or price')
    if made.do != "set" and changes:
        mistakes.append(f'{place}.{changes[0]}: only do = "set" changes values')
    if made.do == "up" and made.for_s is not None:
        mistakes.append(f"{place}.for: up lasts until something else happens; leave it out")
    return mistakes


def _spec_mistakes(spec: EndpointSpec, place: str) -> list[str]:
    """Say what is wrong with an endpoint whose values are each right."""
    together = sum(spec.faults.values())
    if together > 1.0 + 1e-9:
        return [f"{place}.faults: the probabilities are {together:g} together; at most 1 is possible"]
    return []


def _duplicates(tables: Sequence[object]) -> list[str]:
    """Say which names and ports are there more than once."""
    mistakes = []
    for key in ("name", "port"):
        given = [table[key] for table in tables if isinstance(table, dict) and isinstance(table.get(key), str | int)]
        for value, count in Counter(given).items():
            if count > 1 and value != 0:
                mistakes.append(f"endpoints: {count} have the {key} {value!r}; each needs its own")
    return mistakes


def _unknown_keys(table: dict[str, object], known: set[str], prefix: str) -> list[str]:
    """Name each unknown key and the nearest one there is."""
    return [f"{prefix}{key}: no such key{_nearest(key, known)}" for key in table if key not in known]


def _fault_names() -> set[str]:
    return {fault.value for fault in Fault}


def _no_such_fault(name: str, more: Sequence[str] = ()) -> str:
    return f"no such fault: {name!r}{_nearest(name, {*_fault_names(), *more})}"


def _nearest(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(sorted(known))}"


def _spoken(error: msgspec.ValidationError) -> str:
    """Return a validation error in one line, its place within the value made readable."""
    message, _, inside = str(error).partition(" - at `$")
    inside = inside.rstrip("`").lstrip(".")
    message = message[:1].lower() + message[1:]
    return f"{message} (at {inside})" if inside else message
