"""Who may read the admin port.

It shows prices, providers and volumes, so it is not for everyone who can reach the port:

- Bound to loopback (the default) it needs no key, since only this machine reaches it. But a web page
  in a browser on this machine reaches it too: a site may point its own name at 127.0.0.1
  (DNS rebinding) and read the answer. Such a request still carries the site's name in ``Host``,
  so only loopback names are served.
- Bound to anything else it requires one of the gateway's keys, as a bearer token, or as the password
  of HTTP Basic so that a browser can ask for it. The name in ``Host`` is then free: a
  rebound page does not have the key.

``/health`` and ``/ready`` are open in both cases: probes carry neither, and the answer says only yes or no.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

OPEN_PATHS: Final = frozenset({"/health", "/ready"})

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

Scope = MutableMapping[str, Any]  # ASGI's own shape: its values are whatever the server puts there.
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SECURITY_HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class OpenToTheNetworkError(ValueError):
    """The admin port would answer anybody on the network."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"[gateway] admin listens on {host}, which other machines can reach, and there are no [gateway] keys: "
            "add a key, or listen on 127.0.0.1."
        )
        self.host = host


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Gate:
    """What the admin port asks of a request; ``host`` is the address it is bound to."""

    host: str
    keys: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.keys:
            raise OpenToTheNetworkError(self.host)

    def compute_refusal(
        self, path: str, host: str, authorization: str, *, method: str = "GET", origin: str = ""
    ) -> Refusal | None:
        """Judge one request by its path and some of its headers, each empty when absent; None: serve it."""
        if path in OPEN_PATHS:
            return None
        if method not in READING and origin and origin.partition("://")[2].lower() != host.lower():
            # A browser sends such a request for any page that asks it to, with what it has for us: it says for whom.
            return Refusal(403, "origin_not_allowed", "A page of another site may not change anything here.")
        if is_loopback(self.host):
            if is_loopback(get_host_name(host)):
                return None
            return Refusal(
                403,
                "host_not_allowed",
                "This port answers only to localhost and loopback addresses; to open it to a network, bind "
                "[gateway] admin to that address and set [gateway] keys.",
            )
        if _is_any_key(get_presented_key(authorization), self.keys):
            return None
        return Refusal(401, "invalid_api_key", "A key of this gateway is required.")


class GatedApp:
    """An ASGI application behind a ``Gate``; adds the security headers to every answer."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self.gate = gate
        """May be replaced at any time."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_secured(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
            await send(message)

        headers: dict[bytes, bytes] = dict(scope["headers"])
        refusal = self.gate.compute_refusal(
            scope["path"],
            headers.get(b"host", b"").decode("latin-1"),
            headers.get(b"authorization", b"").decode("latin-1"),
            method=scope["method"],
            origin=headers.get(b"origin", b"").decode("latin-1"),
        )
        if refusal is None:
            await self._app(scope, receive, send_secured)
        else:
            await _send_refusal(refusal, send_secured)


async def _send_refusal(refusal: Refusal, send: Send) -> None:
    body = msgspec.json.encode(
        {"error": {"message": refusal.message, "type": "invalid_request_error", "code": refusal.code}}
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Bearer, Basic realm="ProviderRank: any name, a gateway key"'))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address, without brackets, can only mean this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def get_host_name(host: str) -> str:
    """Take the name out of a Host header: without its port, and an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def get_presented_key(authorization: str) -> str:
    """Take the key out of an Authorization header: a bearer token or a Basic password; empty when neither."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _is_any_key(presented: str, keys: tuple[str, ...]) -> bool:
    # Every key is compared, each in constant time: how long it takes says nothing of which came near.
    return bool(presented) and sum(hmac.compare_digest(presented.encode(), key.encode()) for key in keys) > 0
