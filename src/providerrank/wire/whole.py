"""A whole answer: judged as the chat reply it means, and given in the API its client speaks."""

from __future__ import annotations

from providerrank.wire.answer import Reply, add_usage, read_reply
from providerrank.wire.dialect import Dialect
from providerrank.wire.embeddings import read_dimensions, read_embeddings_reply
from providerrank.wire.intake import BYTES_PER_TOKEN, EMBEDDINGS_API, Intake


def read_whole(intake: Intake, dialect: Dialect | None, body: bytes) -> tuple[Reply, bytes]:
    """What a 200 answer to an attempt asked in ``dialect`` (None: chat) says, and what the client gets of it.

    Raises Malformed.
    """
    if intake.api == EMBEDDINGS_API:
        vectors = read_embeddings_reply(body, intake.choices, read_dimensions(intake.fields))
        return Reply(usage=vectors.usage), body
    chat = body if dialect is None else dialect.to_chat_reply(body, intake.created_s)
    reply = read_reply(chat)
    if intake.dialect is None:
        return reply, chat
    if dialect is intake.dialect:
        return reply, body
    if reply.usage is None:
        chat = add_usage(chat, intake.input_tokens, len(reply.text.encode()) // BYTES_PER_TOKEN)
    return reply, intake.dialect.from_chat_reply(chat, intake.model, intake.native)
