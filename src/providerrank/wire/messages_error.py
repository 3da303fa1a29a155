"""Errors in the shape of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providerrank.wire.nested import encoder

ERROR_TYPES: Mapping[int, str] = MappingProxyType(
    {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        408: "timeout_error",
        409: "conflict_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
"""The ``type`` an error of this status has; any other is an invalid request below 500 and an API error from there."""

EVENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "server_error": "api_error",
        "timeout": "timeout_error",
        "overloaded": "overloaded_error",
        "unavailable": "overloaded_error",
        "rate_limit_exceeded": "rate_limit_error",
    }
)
"""Words of OpenAI's errors that Anthropic has others for."""

THREAD_UNSUPPORTED = "thread_unsupported_request"
"""The code by which Anthropic's clients learn to say a conversation whole at each turn (beta of August 2026)."""

_KNOWN = {*ERROR_TYPES.values(), "invalid_request_error", "api_error"}


def get_error_type(status: int) -> str:
    """The ``type`` of an error that is told with this status."""
    return ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def write_error(
    status: int, message: str, *, code: str | None = None, param: str | None = None, request_id: str | None = None
) -> bytes:
    """An error body. Anthropic's has no place for ``param``, nor for most codes: the message names the field."""
    said: dict[str, object] = {"type": get_error_type(status), "message": message}
    if code == THREAD_UNSUPPORTED:
        said["details"] = {"error_code": code, "unsupported": ["thread"]}
    error: dict[str, object] = {"type": "error", "error": said}
    if request_id is not None:
        error["request_id"] = request_id
    return encoder.encode(error)


def write_error_event(message: str, kind: str) -> bytes:
    """The event that ends a stream which can not be completed. ``kind``: either API's word for it."""
    kind = EVENT_TYPES.get(kind, kind)
    error = {"type": kind if kind in _KNOWN else "api_error", "message": message}
    return b"event: error\ndata: " + encoder.encode({"type": "error", "error": error}) + b"\n\n"
