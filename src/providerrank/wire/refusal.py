"""Error answers: what an endpoint's means for the walk, and our own.

Errors are recognised by code first and by wording second, because endpoints that speak OpenAI's dialect agree
on neither. Wordings are matched as lower-case fragments; a comment names where a fragment is seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from providerrank.rules.attempt import Fault, get_status_fault
from providerrank.wire.raw import Raw, is_present, shorten, starts_with

_encoder = msgspec.json.Encoder()


class _ErrorBody(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | list[Raw] | None = None
    details: Raw = Raw()


class _Details(msgspec.Struct):
    """What Anthropic adds to some errors."""

    error_code: str = ""


class _ErrorReply(msgspec.Struct):
    error: _ErrorBody | str | None = None
    message: Raw = Raw()
    detail: Raw = Raw()
    object: str | None = None
    code: str | int | None = None


_words = msgspec.json.Decoder(str)
_details = msgspec.json.Decoder(_Details)
_error_reply = msgspec.json.Decoder(_ErrorReply)
_error_replies = msgspec.json.Decoder(list[_ErrorReply])

CODES: Mapping[str, Fault] = MappingProxyType(
    {
        "context_length_exceeded": Fault.CONTEXT_LENGTH,
        "context_window_exceeded": Fault.CONTEXT_LENGTH,
        "exceed_context_size_error": Fault.CONTEXT_LENGTH,  # llama.cpp
        "prompt_too_long": Fault.CONTEXT_LENGTH,
        "string_above_max_length": Fault.CONTEXT_LENGTH,
        "content_filter": Fault.CONTENT_POLICY,
        "content_policy_violation": Fault.CONTENT_POLICY,
        "data_inspection_failed": Fault.CONTENT_POLICY,  # Alibaba
        "invalid_prompt": Fault.CONTENT_POLICY,
        "moderation": Fault.CONTENT_POLICY,
        "moderation_blocked": Fault.CONTENT_POLICY,
        "responsibleaipolicyviolation": Fault.CONTENT_POLICY,  # Azure
        "unknown_parameter": Fault.UNSUPPORTED,
        "unsupported_country_region": Fault.UNSUPPORTED,
        "unsupported_feature": Fault.UNSUPPORTED,
        "unsupported_parameter": Fault.UNSUPPORTED,
        "unsupported_value": Fault.UNSUPPORTED,
        # What the model wrote was not what was asked for: the endpoint's failure, not the request's (Groq).
        "json_validate_failed": Fault.MALFORMED,
        "tool_use_failed": Fault.MALFORMED,
        "rate_limit_exceeded": Fault.RATE_LIMITED,  # Groq says it with 413
        # Ours to mend, whatever status says it.
        "billing_hard_limit_reached": Fault.REFUSED_US,
        "insufficient_quota": Fault.REFUSED_US,  # OpenAI says it with 429
        "invalid_api_key": Fault.REFUSED_US,
        "model_decommissioned": Fault.REFUSED_US,
        "model_not_found": Fault.REFUSED_US,
    }
)
"""What an error's ``code`` or ``type`` means, in lower case, where its status says only that something is wrong."""

CONTEXT_WORDS = (
    "maximum context length",  # OpenAI, vLLM
    "context length",
    "context window",
    "context_length",
    "prompt is too long",  # Anthropic
    "too many tokens",
    "exceed context",  # llama.cpp
    "exceeds the available context",
    "input is too long",
    "maximum number of tokens",
    "reduce the length",
    "longer than the model's",
    "`inputs` tokens + `max_new_tokens` must be",  # text-generation-inference, Together
    "`inputs` must have less than",
)
POLICY_WORDS = (
    "content management policy",
    "content policy",
    "safety system",
    "usage policies",
    "flagged by moderation",
    "content filter",
    "inappropriate content",
)
UNSUPPORTED_WORDS = (
    "not support",
    "unsupported",
    "not_supported",
    "unrecognized request argument",
    "unknown parameter",
    "unknown field",
    "unexpected keyword",
    "extra inputs are not permitted",  # pydantic
    "extra fields not permitted",
    "not implemented",
    "not available for this model",
    "not enabled",
    "deprecated for this model",  # Anthropic, of sampling settings
    "choice requires --",  # vLLM started without its tool parser
)
KEY_WORDS = (
    "incorrect api key",
    "invalid api key",
    "api key not valid",
    "api key expired",
    "credit balance is too low",  # Anthropic
)
"""xAI and Gemini answer a wrong key with 400, Anthropic an empty account."""

FEATURE_WORDS = (
    ("json_schema", ("response_format", "json_schema", "structured output", "guided", "json mode")),
    ("tools", ("tool", "function call", "functions")),
    ("vision", ("image", "vision", "multimodal", "multi-modal")),
    ("logprobs", ("logprob",)),
)


STATE_CODES = frozenset(
    {
        "previous_response_not_found",  # OpenAI
        "thread_already_continued",  # Anthropic, and the next three
        "thread_continue_in_flight",
        "thread_not_found",
        "thread_unsupported_request",
    }
)
"""The endpoint does not keep what the request goes on from. Another may; if none does, the client knows what to do."""

_NO_RESPONSE = re.compile(r"response with id .{1,300} not found", re.IGNORECASE)  # vLLM, with 404


class ErrorReading(msgspec.Struct, frozen=True):
    """What an endpoint's error answer says."""

    fault: Fault
    message: str = ""
    features: frozenset[str] = frozenset()
    """Which features an UNSUPPORTED refusal is about, where it says so."""
    param: str | None = None
    code: str = ""
    """Its code, where that is a bare name and so no place for anything of the request."""


def read_error(status: int, body: bytes) -> ErrorReading:
    """What an answer with an error status means for the walk. Never raises: a body that is not JSON says nothing."""
    message, code, param = _read_error_body(body)
    fault = get_status_fault(status)
    meant = CODES.get(code)
    if code in STATE_CODES or (status == 404 and _NO_RESPONSE.search(message)):
        return ErrorReading(Fault.UNSUPPORTED, shorten(message.encode()), param=param, code=code)
    if fault is Fault.CLIENT_ERROR:
        if meant is not None:
            fault = meant
        elif status in (400, 413, 422):
            fault = _read_wording(message.lower())
    elif fault is Fault.RATE_LIMITED and meant is Fault.REFUSED_US:
        fault = meant  # no waiting helps an empty account
    features: frozenset[str] = frozenset()
    if fault is Fault.UNSUPPORTED:
        about = f"{param or ''} {message}".lower()
        features = frozenset(name for name, words in FEATURE_WORDS if any(w in about for w in words))
    return ErrorReading(fault, shorten(message.encode()), features, param, code if _NAME.fullmatch(code) else "")


_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def _read_wording(text: str) -> Fault:
    """What a refusal of the request says where no code does."""
    for fault, words in (
        (Fault.CONTEXT_LENGTH, CONTEXT_WORDS),
        (Fault.CONTENT_POLICY, POLICY_WORDS),
        (Fault.REFUSED_US, KEY_WORDS),
        (Fault.UNSUPPORTED, UNSUPPORTED_WORDS),
    ):
        if any(word in text for word in words):
            return fault
    return Fault.CLIENT_ERROR


def _read_error_body(body: bytes) -> tuple[str, str, str | None]:
    """message, lower-case code (or type, where only that is one we know), param; empty where absent."""
    try:
        # Gemini's compatible API puts its error in an array of one.
        reply = _error_replies.decode(body)[0] if body[:1] == b"[" else _error_reply.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
        return "", "", None
    error = reply.error
    if isinstance(error, _ErrorBody):
        param = error.param if isinstance(error.param, str) else None
        code = error.code.lower() if isinstance(error.code, str) else ""
        kind = (error.type or "").lower()
        if not code and is_present(error.details):
            code = _read_details(error.details)
        return error.message or "", kind if code not in CODES and kind in CODES else code, param
    if isinstance(error, str):
        return error, "", None
    # Pydantic's list of mistakes stands in ``detail``, or (Mistral) in ``message``.
    said = reply.message if is_present(reply.message) else reply.detail
    code = reply.code.lower() if isinstance(reply.code, str) else ""
    return _read_words(said), code, None


def _read_details(details: Raw) -> str:
    """Anthropic's code of an error; empty where there is none. Others put anything there."""
    try:
        return _details.decode(details).error_code.lower()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def _read_words(said: Raw) -> str:
    """A string, or any other value as it is written; empty where there is none."""
    if not is_present(said):
        return ""
    if starts_with(said, b'"'):
        try:
            return _words.decode(said)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    return bytes(said).decode("utf-8", "replace")


class _OurError(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def write_error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
    """An error in OpenAI's shape, as an SDK expects it for this status."""
    kind = ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return _encoder.encode({"error": _OurError(message, kind, param, code)})
