"""What a client is told of a request that is refused, here or by an endpoint."""

from __future__ import annotations

from providerrank.gateway.keys import KeyRefused
from providerrank.rules.ask import EmptyPool, RoutingError, UnknownModel
from providerrank.wire.dialect import Dialect
from providerrank.wire.refusal import write_error


def get_refusal(error: RoutingError | KeyRefused) -> tuple[int, str, str, str | None]:
    """Status, message, code and parameter."""
    if isinstance(error, KeyRefused):
        return error.status, str(error), error.code, error.param
    if isinstance(error, UnknownModel):
        return 404, str(error), "model_not_found", "model"
    if isinstance(error, EmptyPool):
        return 400, str(error), "no_endpoint_fits", "model"
    return 400, str(error), "invalid_value", None


def write_refusal(
    dialect: Dialect | None, status: int, message: str, code: str | None, param: str | None = None
) -> bytes:
    """An error in the API the client speaks; None: any of OpenAI's before Responses."""
    write = write_error if dialect is None else dialect.write_error
    return write(status, message, code=code, param=param)


def explain_lost(api: str, lost: tuple[str, ...]) -> str:
    """What to do about a request that only endpoints of its own API can serve."""
    return (
        f" Only endpoints with the feature {api!r} can take {', '.join(lost)}: leave that out, "
        'or send "provider": {"require_parameters": false} to have it dropped.'
    )
