"""What a client is told of a request that is not even tried."""

from __future__ import annotations

from providerrank.gateway.keys import KeyRefused
from providerrank.rules.ask import EmptyPool, RoutingError, UnknownModel


def get_refusal(error: RoutingError | KeyRefused) -> tuple[int, str, str, str | None]:
    """Status, message, code and parameter."""
    if isinstance(error, KeyRefused):
        return error.status, str(error), error.code, error.param
    if isinstance(error, UnknownModel):
        return 404, str(error), "model_not_found", "model"
    if isinstance(error, EmptyPool):
        return 400, str(error), "no_endpoint_fits", "model"
    return 400, str(error), "invalid_value", None


def explain_lost(api: str, lost: tuple[str, ...]) -> str:
    """What to do about a request that only endpoints of its own API can serve."""
    return (
        f" Only endpoints with the feature {api!r} can take {', '.join(lost)}: leave that out, "
        'or send "provider": {"require_parameters": false} to have it dropped.'
    )
