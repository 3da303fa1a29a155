"""One line of a bundle: an array in canonical JSON, and the record, forecast or signal that it is.

Arrays, because a bundle holds ten thousand of them and names would be a third of the file. The columns are documented
in ``docs/reference/bundle.md``; the first says what the line is.
"""

from __future__ import annotations

from collections.abc import Sequence

from providerrank.rules.cells import Cell
from providerrank.rules.consistency import find_forecast_fault, find_record_fault, find_signal_fault
from providerrank.rules.observation import Outcome
from providerrank.rules.records import Forecast, Record, Route, Signal
from providerrank.wire import canonical
from providerrank.wire.bundle_errors import InconsistentBundle, MalformedBundle

RECORD = "record"
FORECAST = "forecast"
SIGNAL = "signal"
KINDS = (RECORD, FORECAST, SIGNAL)
"""In the order they stand in a bundle."""

MAX_LINE = 512 * 1024
"""Bytes: a signal of ``MAX_ROUTES`` endpoints with the longest names there are still fits."""

Line = Record | Forecast | Signal
Key = tuple[str, str, int]


def encode_line(line: Line) -> bytes:
    """Write one line, without its newline. Raises ``InconsistentBundle`` for a value that must not be signed."""
    fault = _find_fault(line)
    if fault is not None:
        raise InconsistentBundle(f"{_describe(line)} {fault}")
    return canonical.encode(_get_columns(line))


def decode_line(data: bytes, number: int) -> Line:
    """Read line ``number`` back. Raises ``MalformedBundle`` or ``InconsistentBundle`` with that number."""
    try:
        columns = canonical.decode(data)
    except canonical.NotCanonical as error:
        raise MalformedBundle(str(error), number) from None
    line = _build(columns, number)
    fault = _find_fault(line)
    if fault is not None:
        raise InconsistentBundle(f"{_describe(line)} {fault}", number)
    return line


def get_key(line: Line) -> Key:
    """What no two lines of one kind have in common."""
    match line:
        case Record():
            return line.cell.endpoint_id, line.cell.task, line.index
        case Forecast():
            return line.cell.endpoint_id, line.cell.task, -1
        case _:
            return line.model, line.task, -2


def _find_fault(line: Line) -> str | None:
    match line:
        case Record():
            return find_record_fault(line)
        case Forecast():
            return find_forecast_fault(line)
        case _:
            return find_signal_fault(line)


def _describe(line: Line) -> str:
    match line:
        case Record():
            return f"record {line.cell.endpoint_id[:80]!r} {line.cell.task[:80]!r} #{line.index}:"
        case Forecast():
            return f"forecast {line.cell.endpoint_id[:80]!r} {line.cell.task[:80]!r}:"
        case _:
            return f"signal {line.model[:80]!r} {line.task[:80]!r}:"


def _get_columns(line: Line) -> list[object]:
    match line:
        case Record():
            return [
                RECORD,
                line.cell.endpoint_id,
                line.cell.task,
                line.index,
                line.prompt_hash,
                line.response_hash,
                line.params_hash,
                line.started_us,
                line.ttft_us,
                line.total_us,
                line.tokens_in,
                line.tokens_out,
                int(line.status),
                line.check,
            ]
        case Forecast():
            return [
                FORECAST,
                line.cell.endpoint_id,
                line.cell.task,
                line.ttft_micrologs,
                line.total_micrologs,
                line.success_ppm,
                line.schema_ppm,
            ]
        case _:
            return [SIGNAL, line.model, line.task, [[route.endpoint_id, route.weight_ppm] for route in line.routes]]


def _build(columns: canonical.Value, number: int) -> Line:
    """Dispatch on the columns' types: what does not match one of the three shapes exactly is malformed."""
    match columns:
        case [
            "record",
            str(endpoint_id),
            str(task),
            int(index),
            str(prompt_hash),
            str(response_hash),
            str(params_hash),
            int(started_us),
            (int() | None) as ttft_us,
            int(total_us),
            (int() | None) as tokens_in,
            (int() | None) as tokens_out,
            int(status),
            str(check),
        ] if status in _OUTCOMES and not _has_boolean(columns):
            return Record(
                Cell(endpoint_id, task),
                index,
                prompt_hash,
                response_hash,
                params_hash,
                started_us,
                ttft_us,
                total_us,
                tokens_in,
                tokens_out,
                _OUTCOMES[status],
                check,
            )
        case ["forecast", str(endpoint_id), str(task), list(ttft), list(total), int(success), int(schema)] if (
            not _has_boolean(columns)
        ):
            return Forecast(
                Cell(endpoint_id, task), _read_integers(ttft, number), _read_integers(total, number), success, schema
            )
        case ["signal", str(model), str(task), list(routes)]:
            return Signal(model, task, tuple(_read_route(route, number) for route in routes))
        case _:
            raise MalformedBundle(f"not a line of one of the kinds {', '.join(KINDS)}", number)


def _has_boolean(columns: Sequence[object]) -> bool:
    """Whether a column is a boolean, which Python takes for an integer and JSON does not."""
    return any(isinstance(column, bool) for column in columns)


def _read_integers(values: list[canonical.Value], number: int) -> tuple[int, ...]:
    integers = tuple(value for value in values if isinstance(value, int) and not isinstance(value, bool))
    if len(integers) != len(values):
        raise MalformedBundle("a quantile is not an integer", number)
    return integers


def _read_route(route: canonical.Value, number: int) -> Route:
    match route:
        case [str(endpoint_id), int(weight_ppm)] if not isinstance(weight_ppm, bool):
            return Route(endpoint_id, weight_ppm)
        case _:
            raise MalformedBundle("a route is not a pair of endpoint and weight", number)


_OUTCOMES = {int(outcome): outcome for outcome in Outcome}
