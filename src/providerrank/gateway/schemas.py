"""Whether an answer obeys the JSON schema its request set. Compiled schemas are kept, few and small.

What would take long is not checked (``schema_cost``): a wrong answer that passes costs less than a gateway that stands
still. Patterns are run by an engine that never goes back; those it has no words for (look-around, back references) make
a schema one that is not checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from providerrank.gateway.schema_cost import SchemaCost, measure_depth

if TYPE_CHECKING:
    import jsonschema_rs

MAX_SCHEMA_BYTES = 256 * 1024
"""A larger schema is not checked: compiling it would cost more than a wrong answer."""

MAX_REGEX_BYTES = 256 * 1024
"""Of one compiled pattern: what needs more takes long to compile."""

MAX_VISITS = 3_000_000
"""Of subschemas in one check, some 0.1 s."""

MAX_DEPTH = 200
"""Levels of an answer that is checked: deeper than any is meant."""

_any = msgspec.json.Decoder()


class Check:
    """A compiled schema, and what checking against it costs."""

    __slots__ = ("_cost", "_flat_visits", "_validator")

    def __init__(self, validator: jsonschema_rs.Validator, cost: SchemaCost) -> None:
        self._validator = validator
        self._cost = cost
        # A schema that is not recursive costs the same whatever the depth: most answers need no measuring.
        self._flat_visits = cost.visits(MAX_DEPTH)

    def breaks(self, text: str) -> bool:
        """Whether ``text`` is no instance; False where finding out would take too long."""
        try:
            value = _any.decode(text)
        except (msgspec.MsgspecError, RecursionError):
            return True
        return not self._is_too_much(text, value) and not self._validator.is_valid(value)

    def find_errors(self, text: str, value: object) -> Iterable[jsonschema_rs.ValidationError]:
        """What is wrong with ``value``, which is what ``text`` says; nothing where finding out would take too long."""
        if self._is_too_much(text, value) or self._validator.is_valid(value):
            return ()
        return self._validator.iter_errors(value)

    def _is_too_much(self, text: str, value: object) -> bool:
        places = 1 + text.count(",") + text.count("{") + text.count("[")
        if places * self._flat_visits > MAX_VISITS:
            depth = measure_depth(value)
            return depth > MAX_DEPTH or places * self._cost.visits(depth) > MAX_VISITS
        return False


@lru_cache(maxsize=64)
def _compile(schema: bytes) -> Check | None:
    # Imported when first needed: most gateways never see a schema, and it is 5 MB.
    import jsonschema_rs

    try:
        decoded = _any.decode(schema)
        cost = SchemaCost(decoded)
        if not cost.is_checked:
            return None
        # Offline: a schema is a stranger's words, and a reference in it must not make us fetch anything.
        options = jsonschema_rs.RegexOptions(size_limit=MAX_REGEX_BYTES)
        return Check(jsonschema_rs.validator_for(decoded, offline=True, pattern_options=options), cost)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None  # the request's own mistake: for the endpoint to refuse


def get_check(schema: bytes) -> Check | None:
    """What tells an instance of a schema; None: it is too large, too much work, or none at all."""
    return None if len(schema) > MAX_SCHEMA_BYTES else _compile(schema)


def breaks_schema(schema: bytes, text: str) -> bool:
    """True: ``text`` is not an instance of the schema. A schema that does not compile is for the endpoint to refuse.

    Nor is one checked that is too large, or too much work.
    """
    check = get_check(schema)
    return check is not None and check.breaks(text)
