"""A neuron's HTTP: a miner's desk, and anybody's `/metrics` and `/health`, as plain ASGI applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from providerrank.market.desk import MAX_BODY, Reply, Request

Scope = MutableMapping[str, Any]  # ASGI's own types are open dictionaries
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answering = Callable[[Request], Awaitable[Reply]]

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class DeskApp:
    """Gives each whole request to ``answer``; one whose body is past the bound is cut off there."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body = bytearray()
        more = True
        while more and len(body) <= MAX_BODY:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        target = scope["raw_path"].decode("latin-1") + (
            "?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""
        )
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        await _send(send, await self._answer(Request(scope["method"], target, headers, bytes(body))))


class StatusApp:
    """`/metrics` and `/health` of one neuron."""

    def __init__(self, get_metrics: Callable[[], str]) -> None:
        self._get_metrics = get_metrics

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/metrics":
            reply = Reply(200, self._get_metrics().encode(), TEXT)
        elif scope["path"] == "/health":
            reply = Reply(200, b'{"status":"ok"}')
        else:
            reply = Reply(404, b'{"error":{"code":"no-such-path","message":"there are /metrics and /health"}}')
        await _send(send, reply)


async def _send(send: Send, reply: Reply) -> None:
    headers = [
        (b"content-type", reply.content_type.encode()),
        (b"content-length", b"%d" % len(reply.body)),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
