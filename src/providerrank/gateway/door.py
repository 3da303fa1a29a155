"""Who and what is let in: from a request on a connection to an exchange, or to a refusal in words.

A request passes, in this order: the path and its method, the key, the number of requests under way, its own body,
the ranking (is there anybody to serve it), the key's budget. The first that fails answers, in the API the
client speaks. What is let in is an ``Exchange``; the door hears of it no more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from providerrank.gateway.exchange import Exchange
from providerrank.gateway.homes import explain_home
from providerrank.gateway.keys import Header, Key, KeyRefused, Keyring, get_presented
from providerrank.gateway.ports import LedgerLost
from providerrank.gateway.priority import NORMAL, Priorities
from providerrank.gateway.refusals import explain_lost, get_refusal, write_refusal
from providerrank.gateway.settings import GatewaySettings, Priority
from providerrank.gateway.tracing import Sampler
from providerrank.rules.ask import Ask, EmptyPool, RoutingError, UnknownModel
from providerrank.rules.cells import PROBE
from providerrank.rules.finished import Finished, get_cut_ask
from providerrank.wire.apis import DIALECTS, PATHS, read_any
from providerrank.wire.errors import BadRequest
from providerrank.wire.http1 import clean_value
from providerrank.wire.incoming import Request
from providerrank.wire.intake import Intake
from providerrank.wire.models import describe_model, list_models

if TYPE_CHECKING:
    from providerrank.gateway.client import ClientConnection
    from providerrank.gateway.server import Gateway

MARKS = frozenset(
    {b"x-request-id", b"traceparent", b"tracestate"}
    | {b"x-providerrank-session", b"x-providerrank-task", b"x-providerrank-tier"}
)
"""Headers that say something of how a request is to be served, or of what it belongs to."""

MAX_NAME = 128
"""Characters of a session, task or tier that are looked at: what a client names is kept, and so is bounded."""

_NO_ASK = Ask("")


class Door:
    """See the module. One for each gateway; ``take`` sets who is let in."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.is_open = False
        """No keys are configured: whoever is on loopback may call."""
        self.keyring: Keyring | None = None
        """Keys with names; None: there are none."""
        self.sampler: Sampler | None = None
        """Which requests are traced; None: none are, and what a caller says of its trace is passed on."""
        self._id_prefix = b"req-%b-" % os.urandom(4).hex().encode()
        self._id_count = 0
        self.take(gateway.settings)

    def take(self, settings: GatewaySettings) -> None:
        """Accept the keys of these settings and no others. Raises ``LedgerLost``, and then changes nothing."""
        keyring = None
        if settings.buyer_keys:
            ledger = self._gateway.ledger
            if ledger is None:
                raise LedgerLost("keys with names need a ledger, and this gateway has none")
            keyring = Keyring(settings.buyer_keys, ledger, self._gateway.stats)
        self.keyring = keyring
        self._unnamed = frozenset(key.encode() for key in settings.keys)
        self._keys = self._unnamed if keyring is None else self._unnamed | keyring.secrets
        self._accepted = frozenset(b"Bearer " + key for key in self._keys)
        self.is_open = not self._keys
        self._priorities = Priorities(settings.tier_priorities, settings.buyer_keys, settings.limits.max_pending)

    # ---- letting in ----------------------------------------------------------------------------------------------

    def serve(self, client: ClientConnection, request: Request) -> None:
        """Answer one request, now or through an exchange."""
        headers = request.headers
        api = PATHS.get(request.path) or PATHS.get(request.path.partition(b"?")[0])
        known = headers.get(b"authorization") in self._accepted or (client.is_trusted and b"origin" not in headers)
        if (
            api is None
            or request.method != b"POST"
            or self._gateway.is_full
            or not (known or self._refuse(client, request) is None)
        ):
            self._serve_other(client, request, api)
            return
        if not MARKS.isdisjoint(headers):
            request_id, session, task, tier, extra = self._read_marks(headers)
        else:
            request_id, session, task, tier = self._make_request_id(), None, None, None
            extra = b"x-request-id: %b\r\n" % request_id
        key = None if self.keyring is None else self.keyring.find(headers, self._unnamed)
        priority: Priority = NORMAL
        if self._priorities.has_any:
            priority = self._priorities.get(tier, None if key is None else key.settings.priority)
            if self._is_behind(client, request_id, api, priority):
                return
        try:
            intake = read_any(api, request.body)
        except BadRequest as refusal:
            encoding = headers.get(b"content-encoding")
            error = refusal if encoding in (None, b"identity") else _explain_encoding(encoding or b"")
            if key is not None:
                key.stats.count_request(error.status)
            self._tell_refused(request_id, api, error.status, error.code or "invalid_request")
            self._reply_error(client, request_id, api, error.status, str(error), error.code, error.param)
            return
        if task is not None and task != PROBE:
            intake.task = task
        if intake.origin is not None:
            self._gateway.homes.lead(intake)
        ask = Ask(
            intake.model,
            intake.models,
            intake.task,
            tier,
            session,
            intake.features,
            intake.input_tokens,
            intake.output_tokens,
            intake.preferences,
        )
        self._admit(client, headers, intake, ask, key, request_id, extra, priority)

    def _admit(
        self,
        client: ClientConnection,
        headers: dict[bytes, bytes],
        intake: Intake,
        ask: Ask,
        key: Key | None,
        request_id: bytes,
        extra: bytes,
        priority: Priority,
    ) -> None:
        """Begin an exchange for a request that can be served and paid for, or refuse it."""
        gateway = self._gateway
        now, claim = gateway.now_us(), None
        try:
            if key is not None:
                ask = key.narrow(ask, gateway.router)
            plan = gateway.router.plan(ask, now, intake.prefix)
            if key is not None:
                claim = key.admit(plan, intake)
        except (RoutingError, KeyRefused) as error:
            self._refuse_ask(client, request_id, intake, ask, error, key)
            return
        exchange = Exchange(gateway, client, intake, plan, request_id, ask.session, extra)
        if claim is not None:
            exchange.claim = claim
        if self.sampler is not None and (trace := self.sampler.begin(headers.get(b"traceparent"))) is not None:
            exchange.join(trace, _write_extra(request_id, headers, (b"tracestate",)))
        if intake.dialect is not None:
            exchange.native_lines = intake.dialect.write_headers(headers)
            if intake.dialect.id_header is not None:
                exchange.more_lines = b"%b: %b\r\n" % (intake.dialect.id_header, request_id)
        gateway.begin(exchange, client, priority, now)

    def _is_behind(self, client: ClientConnection, request_id: bytes, api: str, priority: Priority) -> bool:
        """Whether a request was refused because what room is left is for those of a higher priority."""
        most = self._priorities.get_most(priority)
        if self._gateway.pending < most:
            return False
        self._refuse_overload(client, request_id, api, most, f" of {priority} priority")
        return True

    def _read_marks(self, headers: dict[bytes, bytes]) -> tuple[bytes, str | None, str | None, str | None, bytes]:
        """Request id, session, task, tier, and the header lines that an endpoint gets beside its own.

        Tracing is passed on; nothing is that identifies the caller.
        """
        given = headers.get(b"x-request-id")
        request_id = None if given is None else clean_value(given)
        if request_id is None:
            request_id = self._make_request_id()
        return (
            request_id,
            _get_text(headers, b"x-providerrank-session"),
            _get_text(headers, b"x-providerrank-task"),
            _get_text(headers, b"x-providerrank-tier"),
            _write_extra(request_id, headers, (b"traceparent", b"tracestate")),
        )

    def _make_request_id(self) -> bytes:
        self._id_count += 1
        return b"%b%x" % (self._id_prefix, self._id_count)

    # ---- everything but a request that can be routed -------------------------------------------------------------

    def _serve_other(self, client: ClientConnection, request: Request, api: str | None) -> None:
        path = request.path.partition(b"?")[0]
        if path == b"/health":
            client.send_simple(200, b'{"status":"ok"}')
            return
        refusal = self._refuse(client, request)
        if refusal is None and request.method in (b"GET", b"HEAD") and path.startswith(b"/v1/models"):
            models = self._get_models(request)
            name = unquote(path.removeprefix(b"/v1/models").decode("latin-1"))
            if name == "" or (name[0] == "/" and self._gateway.router.resolve(name[1:]) in models):
                client.send_simple(200, list_models(models) if name == "" else describe_model(name[1:]))
                self._gateway.stats.count_request("models", 200)
                return
            if name[0] == "/":
                refusal = (404, str(UnknownModel(name[1:], models)), "model_not_found")
        headers: list[Header] = []
        if refusal is None:
            shown = (clean_value(path) or b"this path").decode()
            if path == b"/v1/models":
                refusal, headers = (405, f"{shown} takes GET", "method_not_allowed"), [(b"Allow", b"GET")]
            elif api is None:
                refusal = (404, f"nothing at {shown}; POST /v1/chat/completions is the usual place", "not_found")
            elif request.method != b"POST":
                refusal, headers = (405, f"{shown} takes POST", "method_not_allowed"), [(b"Allow", b"POST")]
            else:
                most = self._gateway.limits.max_pending
                self._refuse_overload(client, self._read_marks(request.headers)[0], api, most)
                return
        request_id = self._read_marks(request.headers)[0]
        self._tell_refused(request_id, api or "other", refusal[0], refusal[2], is_kept=False)
        self._reply_error(client, request_id, api or "other", *refusal, headers=headers)

    def _get_models(self, request: Request) -> list[str]:
        """The models its caller may ask for."""
        key = None if self.keyring is None else self.keyring.find(request.headers, self._unnamed)
        models = self._gateway.router.models()
        return models if key is None else [name for name in models if key.may_use(name)]

    # ---- refusing ------------------------------------------------------------------------------------------------

    def _refuse(self, client: ClientConnection, request: Request) -> tuple[int, str, str] | None:
        """Why this caller is not served; None: it is. Never says what a right key would look like."""
        headers = request.headers
        if headers.get(b"authorization") in self._accepted:
            return None
        if not self._keys:
            if not client.is_loopback:
                return 401, "without configured keys only loopback may call: set gateway.keys", "invalid_api_key"
            origin = headers.get(b"origin")
            if origin is not None and not _is_loopback_origin(origin):
                # A page of some site in a browser on this machine is not the operator.
                return 403, "without configured keys, web pages of other sites are refused", "origin_refused"
            return None
        if not self._keys.isdisjoint(get_presented(headers)):
            return None
        return 401, "Incorrect API key provided.", "invalid_api_key"

    def _refuse_overload(
        self, client: ClientConnection, request_id: bytes, api: str, most: int, whose: str = ""
    ) -> None:
        """Too many requests are under way for one more."""
        self._tell_refused(request_id, api, 503, "overloaded", is_kept=False)
        message = f"{most} requests are under way, and there is no room for one more{whose}; try again shortly"
        self._reply_error(client, request_id, api, 503, message, "overloaded")

    def _refuse_ask(
        self,
        client: ClientConnection,
        request_id: bytes,
        intake: Intake,
        ask: Ask,
        error: RoutingError | KeyRefused,
        key: Key | None,
    ) -> None:
        """A request that could be read, and is not even tried."""
        status, message, code, param = get_refusal(error)
        headers: Iterable[Header] = ()
        if isinstance(error, KeyRefused):
            headers = error.headers
        elif intake.home is not None:
            message += f" {explain_home(intake.home)}"
        elif intake.dialect is not None and intake.lost and not intake.may_lose:
            message += explain_lost(intake.api, intake.lost)
            code = next((told for name, told in intake.dialect.lost_codes if name in intake.lost), code)
        if key is not None:
            key.stats.count_request(status)
        routing_error = error if isinstance(error, RoutingError) else None
        # A client without a budget may ask often; it would push out who has one.
        self._tell_refused(request_id, intake.api, status, code, get_cut_ask(ask), routing_error, is_kept=status != 429)
        self._reply_error(client, request_id, intake.api, status, message, code, param, headers)

    def _tell_refused(
        self,
        request_id: bytes,
        api: str,
        status: int,
        code: str,
        ask: Ask = _NO_ASK,
        error: RoutingError | None = None,
        *,
        is_kept: bool = True,
    ) -> None:
        """Have the watchers told of a request that was never tried.

        Who may not call is not kept to be explained: it would push out those who may.
        """
        now = self._gateway.now_us()
        finished = Finished(request_id, api, ask, False, status, (), began_us=now, ended_us=now, code=code)
        if isinstance(error, EmptyPool):
            finished.lanes, finished.sights = error.lanes, error.sights
        self._gateway.tell(finished, is_kept=is_kept)

    def _reply_error(
        self,
        client: ClientConnection,
        request_id: bytes,
        api: str,
        status: int,
        message: str,
        code: str | None,
        param: str | None = None,
        headers: Iterable[Header] = (),
    ) -> None:
        self._gateway.stats.count_request(api, status)
        lines = [(b"x-request-id", request_id), *headers]
        if status == 503:
            lines.append((b"Retry-After", b"1"))
        dialect = DIALECTS.get(api)
        if dialect is not None and dialect.id_header is not None:
            lines.append((dialect.id_header, request_id))
        client.send_simple(status, write_refusal(dialect, status, message, code, param), lines)


def _write_extra(request_id: bytes, headers: dict[bytes, bytes], names: tuple[bytes, ...]) -> bytes:
    """Header lines that an endpoint gets beside its own; those in ``names`` as the client sent them."""
    extra = b"x-request-id: %b\r\n" % request_id
    for name in names:
        value = headers.get(name)
        if value is not None and (clean := clean_value(value, 512)) is not None:
            extra += b"%b: %b\r\n" % (name, clean)
    return extra


def _explain_encoding(encoding: bytes) -> BadRequest:
    """Why a compressed body was not understood."""
    shown = (clean_value(encoding) or b"something else").decode()
    return BadRequest(
        f"the request body is encoded as {shown!r}: send it as plain JSON, without Content-Encoding",
        code="unsupported_content_encoding",
        status=415,
    )


def _get_text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value[:MAX_NAME].decode("latin-1").strip() or None


def _is_loopback_origin(origin: bytes) -> bool:
    host = origin.partition(b"://")[2]
    name = host.rpartition(b":")[0] if b":" in host and not host.endswith(b"]") else host
    return name in (b"localhost", b"127.0.0.1", b"[::1]")
