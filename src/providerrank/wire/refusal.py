"""Error answers: what an endpoint's means for the walk, and our own.

Errors are recognised by code first and by wording second, because endpoints that speak OpenAI's dialect agree
on neither. Wordings are matched as lower-case fragments; a comment names where a fragment is seen.
"""

from __future__ import annotations

import msgspec

from providerrank.rules.attempts import Fault, get_status_fault
from providerrank.wire.raw import Raw, is_present, shorten, starts_with

_encoder = msgspec.json.Encoder()


class _ErrorBody(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | list[Raw] | None = None


class _ErrorReply(msgspec.Struct):
    error: _ErrorBody | str | None = None
    message: Raw = Raw()
    detail: Raw = Raw()
    object: str | None = None
    code: str | int | None = None


_words = msgspec.json.Decoder(str)
_error_reply = msgspec.json.Decoder(_ErrorReply)

CONTEXT_CODES = frozenset(
    {"context_length_exceeded", "string_above_max_length", "context_window_exceeded", "prompt_too_long"}
)
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
POLICY_CODES = frozenset(
    {"content_policy_violation", "content_filter", "responsibleaipolicyviolation", "moderation", "moderation_blocked",
     "data_inspection_failed", "invalid_prompt"}
)  # fmt: skip
POLICY_WORDS = (
    "content management policy",
    "content policy",
    "safety system",
    "usage policies",
    "flagged by moderation",
    "content filter",
    "inappropriate content",
)
UNSUPPORTED_CODES = frozenset(
    {
        "unsupported_parameter",
        "unsupported_value",
        "unknown_parameter",
        "unsupported_feature",
        "unsupported_country_region",
    }
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
    "choice requires --",  # vLLM started without its tool parser
)
FEATURE_WORDS = (
    ("json_schema", ("response_format", "json_schema", "structured output", "guided", "json mode")),
    ("tools", ("tool", "function call", "functions")),
    ("vision", ("image", "vision", "multimodal", "multi-modal")),
    ("logprobs", ("logprob",)),
)


class ErrorReading(msgspec.Struct, frozen=True):
    """What an endpoint's error answer says."""

    fault: Fault
    message: str = ""
    features: frozenset[str] = frozenset()
    """Which features an UNSUPPORTED refusal is about, where it says so."""
    param: str | None = None


def read_error(status: int, body: bytes) -> ErrorReading:
    """What an answer with an error status means for the walk. Never raises: a body that is not JSON says nothing."""
    fault = get_status_fault(status)
    message, code, param = _read_error_body(body)
    if status in (400, 413, 422) or (fault is Fault.CLIENT_ERROR and code):
        text = message.lower()
        if code in CONTEXT_CODES or (code not in POLICY_CODES and any(w in text for w in CONTEXT_WORDS)):
            fault = Fault.CONTEXT_LENGTH
        elif code in POLICY_CODES or any(w in text for w in POLICY_WORDS):
            fault = Fault.CONTENT_POLICY
        elif code in UNSUPPORTED_CODES or any(w in text for w in UNSUPPORTED_WORDS):
            about = f"{param or ''} {text}".lower()
            features = frozenset(name for name, words in FEATURE_WORDS if any(w in about for w in words))
            return ErrorReading(Fault.UNSUPPORTED, shorten(message.encode()), features, param)
    return ErrorReading(fault, shorten(message.encode()), frozenset(), param)


def _read_error_body(body: bytes) -> tuple[str, str, str | None]:
    """message, lower-case code, param; empty where absent."""
    try:
        reply = _error_reply.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", "", None
    error = reply.error
    if isinstance(error, _ErrorBody):
        param = error.param if isinstance(error.param, str) else None
        code = error.code if isinstance(error.code, str) else ""
        kind = error.type or ""
        known = CONTEXT_CODES | POLICY_CODES | UNSUPPORTED_CODES
        chosen = (
            code.lower()
            if code.lower() in known or not kind
            else kind.lower()
            if kind.lower() in known
            else code.lower()
        )
        return error.message or "", chosen, param
    if isinstance(error, str):
        return error, "", None
    # Pydantic's list of mistakes stands in ``detail``, or (Mistral) in ``message``.
    said = reply.message if is_present(reply.message) else reply.detail
    code = reply.code.lower() if isinstance(reply.code, str) else ""
    return _read_words(said), code, None


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
