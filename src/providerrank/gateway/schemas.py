"""Whether an answer obeys the JSON schema its request set. Compiled schemas are kept, few and small."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import jsonschema_rs

MAX_SCHEMA_BYTES = 256 * 1024
"""A larger schema is not checked: compiling it would cost more than a wrong answer."""

_any = msgspec.json.Decoder()


@lru_cache(maxsize=256)
def _compile(schema: bytes) -> jsonschema_rs.Validator | None:
    # Imported when first needed: most gateways never see a schema, and it is 5 MB.
    import jsonschema_rs

    try:
        # Offline: a schema is a stranger's words, and a reference in it must not make us fetch anything.
        return jsonschema_rs.validator_for(_any.decode(schema), offline=True)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None  # the request's own mistake: for the endpoint to refuse


def breaks_schema(schema: bytes, text: str) -> bool:
    """True: ``text`` is not an instance of the schema. A schema that does not compile is for the endpoint to refuse."""
    if len(schema) > MAX_SCHEMA_BYTES:
        return False
    validator = _compile(schema)
    if validator is None:
        return False
    try:
        return not validator.is_valid(_any.decode(text))
    except (msgspec.MsgspecError, RecursionError):
        return True
