"""Every API that is served: where clients find it, where endpoints have it, who reads its requests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providerrank.wire.dialect import Dialect
from providerrank.wire.embeddings import read_embeddings_request
from providerrank.wire.intake import CHAT_API, EMBEDDINGS_API, TEXT_API, Intake
from providerrank.wire.messages import MESSAGES
from providerrank.wire.request import read_request, read_translated
from providerrank.wire.responses import RESPONSES

DIALECTS: Mapping[str, Dialect] = MappingProxyType({dialect.api: dialect for dialect in (MESSAGES, RESPONSES)})
"""Every API beside OpenAI's older ones. A new one is one file that makes a ``Dialect``, and its name here."""

PATHS = {
    b"/v1/chat/completions": CHAT_API,
    b"/v1/completions": TEXT_API,
    b"/v1/embeddings": EMBEDDINGS_API,
} | {b"/v1" + dialect.path.encode(): dialect.api for dialect in DIALECTS.values()}

UPSTREAM_PATHS = {
    CHAT_API: "/chat/completions",
    TEXT_API: "/completions",
    EMBEDDINGS_API: "/embeddings",
} | {dialect.api: dialect.path for dialect in DIALECTS.values()}


def read_any(api: str, body: bytes) -> Intake:
    """Take a request to one of ``PATHS``' APIs apart. Raises BadRequest."""
    dialect = DIALECTS.get(api)
    if dialect is not None:
        return read_translated(dialect, body)
    return read_embeddings_request(body) if api == EMBEDDINGS_API else read_request(api, body)
