"""What is wrong with a file's shape, all of it at once: syntax, unknown keys, wrong types, missing keys.

The schema is read off the structs in ``tables``, so there is one description of it. ``salvage``
walks file and schema together. Where they disagree it records a mistake and puts something harmless
in the value's place, keeping every index where it was, so that the rest of the file can still be
checked by the rules.
"""

from __future__ import annotations

import difflib
import re
from typing import TypeAlias

import msgspec

from providerrank.apps.config.mistakes import KeyPath, Mistake, show
from providerrank.apps.config.tables import Config, convert

Raw: TypeAlias = object
"""Parsed TOML: tables as dict, arrays as list, and scalars."""

OTHER_NAMES = {
    "api_base": "base_url",
    "api_key": "key",
    "host": "listen",
    "max_price": "price_cap",
    "port": "listen",
    "token": "key",
    "url": "base_url",
}
"""What other programs call the same thing, where the spelling would suggest another key or none."""

EXAMPLES = {
    "keys": 'give each key a table under the header "[[keys]]"',
    "endpoints": 'give each endpoint a table under the header "[[endpoints]]"',
    "headers": 'write headers = { authorization = "env:NAME" }',
    "models": 'give each model a table under the header "[[models]]"',
    "only": 'write only = ["provider/model"], ids of endpoints',
    "price": "write price = { input = 0.90, output = 0.90 }, in USD per million tokens",
    "price_cap": "write price_cap = { input = 2.0, output = 6.0 }, in USD per million tokens",
    "tiers": 'give each tier a table under the header "[[tiers]]"',
    "weights": "write weights = { reputation = 0.6, price = 0.4 }",
}
"""How to write what is not a plain value, by key; any other table is ``[name]``."""

MISSING = {
    "id": 'add id = "provider/model"',
    "model": "add the model's name, the one clients ask for",
    "base_url": 'add base_url = "https://…/v1", the address before /chat/completions',
    "name": "add the name requests will ask for",
    "keys.name": "add a name, for messages, metrics and the account of what it used",
    "key": 'add key = "env:NAME", with the variable that holds it',
    "input": "add it, in USD per million tokens",
    "output": "add it, in USD per million tokens",
    "reputation": "add it; with price it sums to 1",
}
"""What to add for a required key, by key; tables fall back on ``EXAMPLES``."""


def explain_syntax(error: str, text: str) -> Mistake:
    """Turn the TOML parser's words into a mistake with its line."""
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", error)
    said = error[: found.start()] if found else error
    line = int(found.group(1)) if found and found.group(1) else text.count("\n") + 1
    column = f" at column {found.group(2)}" if found and found.group(2) else " at the end of the file"
    return Mistake((), f"this is not TOML{column} ({said}): text goes in quotes, each key stands once.", line)


def salvage(raw: Raw) -> tuple[Config, tuple[Mistake, ...]]:
    """Return a configuration with every misshapen part replaced, and a mistake for each of them."""
    walk = _Walk()
    mended = walk.value((), raw, msgspec.inspect.type_info(Config))
    return convert(mended), tuple(walk.mistakes)


class _Walk:
    """One pass over file and schema together."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def value(self, path: KeyPath, raw: Raw, kind: msgspec.inspect.Type) -> Raw:
        """Return the value, or what stands in for it."""
        if isinstance(kind, msgspec.inspect.UnionType):
            return self._choice(path, raw, kind)
        if isinstance(kind, msgspec.inspect.StructType):
            if isinstance(raw, dict):
                return self._table(path, raw, kind)
        elif isinstance(kind, msgspec.inspect.VarTupleType):
            if isinstance(raw, list):
                return [self.value((*path, index), item, kind.item_type) for index, item in enumerate(raw)]
        elif isinstance(kind, msgspec.inspect.DictType):
            if isinstance(raw, dict):
                return {key: self.value((*path, key), item, kind.value_type) for key, item in raw.items()}
        elif _is_scalar(raw, kind):
            return raw
        self._wrong_type(path, raw, kind)
        return _get_stand_in(kind)

    def _choice(self, path: KeyPath, raw: Raw, kind: msgspec.inspect.UnionType) -> Raw:
        # TOML has no null: None in a union only says that the key may be left out.
        kinds = [one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType)]
        if len(kinds) == 1:
            return self.value(path, raw, kinds[0])
        if any(_is_scalar(raw, one) for one in kinds):
            return raw
        words = " or ".join(_describe(one) for one in kinds)
        self._say(path, f"is {_show(raw)} where {words} belongs: write one of these.")
        return _get_stand_in(kinds[0])

    def _table(self, path: KeyPath, raw: dict[str, Raw], kind: msgspec.inspect.StructType) -> Raw:
        fields = {field.encode_name: field for field in kind.fields}
        mended: dict[str, Raw] = {}
        for key, item in raw.items():
            if key in fields:
                mended[key] = self.value((*path, key), item, fields[key].type)
            else:
                self._unknown((*path, key), key, list(fields))
        for key, field in fields.items():
            if field.required and key not in raw:
                own = f"{path[0]}.{key}" if path else key
                remedy = MISSING.get(own) or MISSING.get(key) or EXAMPLES.get(key) or "add it"
                self._say((*path, key), f"is missing: {remedy}.")
                mended[key] = _get_stand_in(field.type)
        return mended

    def _unknown(self, path: KeyPath, key: str, valid: list[str]) -> None:
        other = OTHER_NAMES.get(key)
        [nearest] = [other] if other in valid else difflib.get_close_matches(key, valid, 1, 0.0)
        self._say(path, f"is not a known key: did you mean `{nearest}`? The keys here are {', '.join(valid)}.")

    def _wrong_type(self, path: KeyPath, raw: Raw, kind: msgspec.inspect.Type) -> None:
        key = next((part for part in reversed(path) if isinstance(part, str)), "")
        if isinstance(kind, msgspec.inspect.CustomType):
            remedy = 'write "env:NAME", with the variable that holds it'
        elif isinstance(kind, msgspec.inspect.StructType | msgspec.inspect.DictType):
            remedy = EXAMPLES.get(key) or f'put its keys under the header "[{key}]"'
        elif isinstance(kind, msgspec.inspect.VarTupleType):
            item = '"env:NAME"' if isinstance(kind.item_type, msgspec.inspect.CustomType) else '"…"'
            is_table = isinstance(kind.item_type, msgspec.inspect.StructType)
            remedy = EXAMPLES[key] if is_table else f"write {key} = [{item}]"
        elif isinstance(raw, str) and _is_number(raw):
            remedy = f"write {raw.strip()} without quotes"
        else:
            remedy = _EXAMPLE_OF[type(kind)]
        # Only where a plain value belongs is what was written shown: elsewhere it may hold a secret.
        shown = _show(raw) if type(kind) in _EXAMPLE_OF else _name_type(raw)
        self._say(path, f"is {shown} where {_describe(kind)} belongs: {remedy}.")

    def _say(self, path: KeyPath, sentence: str) -> None:
        self.mistakes.append(Mistake(path, sentence))


_EXAMPLE_OF: dict[type[msgspec.inspect.Type], str] = {
    msgspec.inspect.StrType: "put it in quotes",
    msgspec.inspect.BoolType: "write true or false",
    msgspec.inspect.IntType: "write a whole number",
    msgspec.inspect.FloatType: "write a number, like 0.5",
    msgspec.inspect.LiteralType: "write one of these",
}


def _is_scalar(raw: Raw, kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.LiteralType):
        return raw in kind.values
    if isinstance(kind, msgspec.inspect.BoolType):
        return isinstance(raw, bool)
    if isinstance(kind, msgspec.inspect.IntType):
        return isinstance(raw, int) and not isinstance(raw, bool)
    if isinstance(kind, msgspec.inspect.FloatType):
        return isinstance(raw, int | float) and not isinstance(raw, bool)
    # Text, and secrets, which are written as text.
    return isinstance(kind, msgspec.inspect.StrType | msgspec.inspect.CustomType) and isinstance(raw, str)


def _get_stand_in(kind: msgspec.inspect.Type) -> Raw:
    """Return a value of the right type that no rule objects to by itself, or whose objection is dropped."""
    if isinstance(kind, msgspec.inspect.UnionType):
        return _get_stand_in(kind.types[0])
    if isinstance(kind, msgspec.inspect.LiteralType):
        return kind.values[0]
    if isinstance(kind, msgspec.inspect.StructType):
        return {field.encode_name: _get_stand_in(field.type) for field in kind.fields if field.required}
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return []
    if isinstance(kind, msgspec.inspect.DictType):
        return {}
    if isinstance(kind, msgspec.inspect.BoolType):
        return False
    return 0 if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType) else ""


def _describe(kind: msgspec.inspect.Type) -> str:
    if isinstance(kind, msgspec.inspect.LiteralType):
        return " or ".join(f'"{value}"' for value in kind.values)
    if isinstance(kind, msgspec.inspect.StructType | msgspec.inspect.DictType):
        return "a table"
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return "a list"
    if isinstance(kind, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(kind, msgspec.inspect.IntType):
        return "a whole number"
    return "a number" if isinstance(kind, msgspec.inspect.FloatType) else "text"


def _name_type(raw: Raw) -> str:
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "a list"
    if isinstance(raw, bool):
        return "true or false"
    if isinstance(raw, int | float):
        return "a number"
    return "text" if isinstance(raw, str) else "a date or time"


def _show(raw: Raw) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str):
        return show(raw)
    return str(raw) if isinstance(raw, int | float) else _name_type(raw)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
