"""``/v1/models``, in OpenAI's shape and in Anthropic's at once: neither's clients mind the other's fields."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_encoder = msgspec.json.Encoder()


def _describe(name: str) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "providerrank",
        "type": "model",
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
    }


def describe_model(name: str) -> bytes:
    """One model."""
    return _encoder.encode(_describe(name))


def list_models(names: Sequence[str]) -> bytes:
    """All of them, on one page."""
    ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
    data = [_describe(name) for name in names]
    return _encoder.encode({"object": "list", "data": data, "has_more": False, **ends})
