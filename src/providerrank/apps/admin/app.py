"""The admin port's application: readiness, metrics, rankings, and the page. It only reads.

``build_admin`` gives an ASGI application; ``admin_server.AdminServer`` serves it. Litestar takes request
decoding, response encoding and the OpenAPI document out of the handlers' types.

The document is made beforehand and shipped: making it imports 50 MB and takes most of a second, in a process that
relays requests meanwhile. A test holds it against the handlers; to write it anew:
``python -m providerrank.apps.admin.openapi``.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ControllerRouterHandler
from prometheus_client import CONTENT_TYPE_LATEST
from typing_extensions import override

from providerrank.apps.admin.gate import Gate, GatedApp
from providerrank.apps.admin.metrics import render
from providerrank.apps.admin.page.render import ASSETS, get_asset, render_live, render_page
from providerrank.apps.admin.page.requests import render_explanation, render_forgotten
from providerrank.apps.admin.reader import AdminReader, AdminSources, NotFoundError, RequestNotFoundError
from providerrank.apps.admin.view import ErrorBody, ErrorView, Health, RankingView, Readiness, SessionsView, UsageView
from providerrank.apps.reload import Reloaded, ReloadRefused
from providerrank.gateway.ports import LedgerLost
from providerrank.rules.cells import CHAT
from providerrank.rules.explanation import Brief, Explanation

logger = logging.getLogger("providerrank.admin")

Task = Annotated[str, QueryParameter(description="What the requests are about: chat, code, json, tools, long-context.")]
RequestId = Annotated[str, QueryParameter(name="id")]
Limit = Annotated[int, QueryParameter(description="How many at most, 1 to 1,000.")]
Tier = Annotated[
    str | None, QueryParameter(description="One of the configuration's tiers; none: the buyer's own weights.")
]

# Litestar's request has three type parameters that nothing here reads.
AnyRequest = Request[Any, Any, Any]

OPENAPI_FILE: Final = "openapi.json"
"""Beside the page's files; written by ``admin_openapi``."""

UNKNOWN: Final = {404: ResponseSpec(ErrorView, description="No such model or tier; the known ones are named.")}

UNREADABLE: Final = {503: ResponseSpec(ErrorView, description="The accounts cannot be read just now.")}

FORGOTTEN: Final = {404: ResponseSpec(ErrorView, description="No such request is remembered.")}


REFUSED: Final = {
    422: ResponseSpec(ErrorView, description="The configuration has mistakes; the one in use stays as it was."),
}


class _App(Litestar):
    @staticmethod
    @override
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        """Keep Litestar from importing pydantic, where that happens to be installed: 10 MB for nothing here."""
        return [*plugins, MsgspecDIPlugin()]


def build_admin(sources: AdminSources, gate: Gate) -> GatedApp:
    """Build the application; ``gate`` says who may read it."""
    app = _App(
        build_handlers(AdminReader(sources)),
        openapi_config=None,
        exception_handlers={
            NotFoundError: _answer_not_found,
            LedgerLost: _answer_unreadable,
            RequestNotFoundError: _answer_forgotten,
            ReloadRefused: _answer_refused,
            HTTPException: _answer_http_error,
            Exception: _answer_failure,
        },
        logging_config=None,
    )
    # Litestar's own ASGI types are narrower aliases of the same thing.
    return GatedApp(app, gate)  # type: ignore[arg-type]


def build_handlers(reader: AdminReader) -> list[ControllerRouterHandler]:
    """Build everything that is served."""
    return [*_build_probes(reader), *_build_api(reader), *_build_commands(reader), *_build_page(reader)]


def _build_probes(reader: AdminReader) -> list[ControllerRouterHandler]:
    # A scrape's text is written off the data plane's loop, by one thread: scrapes queue, they do not multiply.
    writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")

    @get("/health", summary="Alive")
    async def health() -> Health:
        """Tell that this process answers."""
        return Health(version=reader.version)

    @get("/ready", summary="Ready for requests", responses={503: ResponseSpec(Readiness, description="Not ready.")})
    async def ready() -> Response[Readiness]:
        """Tell whether the data plane listens and some endpoint is not believed out."""
        readiness = reader.get_readiness()
        return Response(readiness, status_code=200 if readiness.ready else 503)

    @get("/metrics", summary="Prometheus metrics", media_type=MediaType.TEXT)
    async def metrics() -> Response[bytes]:
        """Every counter and gauge as Prometheus text."""
        await reader.refresh()
        text = await asyncio.get_running_loop().run_in_executor(writer, render, reader.get_snapshot())
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return [health, ready, metrics]


def _build_api(reader: AdminReader) -> list[ControllerRouterHandler]:
    # A path parameter, since model names may hold slashes.
    @get("/v1/rankings/{model:path}", summary="Ranking of a model", responses=UNKNOWN)
    async def ranking(model: FromPath[str], task: Task = CHAT, tier: Tier = None) -> RankingView:
        """Every endpoint of the model, best first, with what its score is made of."""
        return reader.get_ranking(model.removeprefix("/"), task, tier or None)

    @get("/v1/usage", summary="Usage of keys", responses=UNREADABLE)
    async def usage() -> UsageView:
        """What each key with a name has used today and this minute, and what it has left."""
        return reader.get_usage()

    # The same, since a client may choose its own id.
    @get("/v1/explain/{request_id:path}", summary="One request explained", responses=FORGOTTEN)
    async def explain(request_id: FromPath[str]) -> Explanation:
        """What was done with a request and why: every candidate, its scores, what became of it, every attempt."""
        return await reader.explain(request_id.removeprefix("/"))

    @get("/v1/explain", summary="The latest requests")
    async def latest() -> list[Brief]:
        """The latest requests, the newest first; each can be explained by its id."""
        return await reader.get_latest()

    @get("/v1/sessions", summary="Named sessions")
    async def sessions(limit: Limit = 100) -> SessionsView:
        """The named sessions used last, the latest first: what each knows beside everybody's ranking."""
        return reader.get_sessions(limit)

    return [ranking, explain, latest, sessions, usage]


def _build_commands(reader: AdminReader) -> list[ControllerRouterHandler]:
    @post("/v1/reload", status_code=200, summary="Read the configuration again", responses=REFUSED)
    async def reload() -> Reloaded:
        """Go on by the configuration as it is now, without dropping a request; refused, nothing has changed."""
        return await reader.reload()

    return [reload]


def _build_page(reader: AdminReader) -> list[ControllerRouterHandler]:
    @get("/", media_type=MediaType.HTML, include_in_schema=False)
    async def page(task: Task = CHAT, tier: Tier = None) -> str:
        """The page."""
        await reader.refresh()
        return render_page(reader.get_page(task, tier or None), await reader.get_latest())

    @get("/page/live", media_type=MediaType.HTML, include_in_schema=False)
    async def live(task: Task = CHAT, tier: Tier = None) -> str:
        """The part of the page that changes."""
        await reader.refresh()
        return render_live(reader.get_page(task, tier or None), await reader.get_latest())

    async def show(request_id: str) -> Response[str]:
        try:
            explanation = await reader.explain(request_id)
        except RequestNotFoundError as error:
            text = render_forgotten(str(error), reader.version)
            return Response(text, status_code=404, media_type=MediaType.HTML)
        return Response(render_explanation(explanation, reader.version), media_type=MediaType.HTML)

    @get("/explain/{request_id:path}", media_type=MediaType.HTML, include_in_schema=False)
    async def explained(request_id: FromPath[str]) -> Response[str]:
        """One request, for people."""
        return await show(request_id.removeprefix("/"))

    @get("/explain", media_type=MediaType.HTML, include_in_schema=False)
    async def found(request_id: RequestId) -> Response[str]:
        """The same, from the form that asks for an id."""
        return await show(request_id.strip())

    files = [_build_file(f"/page/{name}", name, media_type) for name, media_type in ASSETS.items()]
    return [page, live, explained, found, _build_file("/openapi.json", OPENAPI_FILE, MediaType.JSON), *files]


def _build_file(path: str, name: str, media_type: str) -> ControllerRouterHandler:
    content = get_asset(name)

    @get(path, media_type=media_type, include_in_schema=False)
    async def asset() -> bytes:
        """One file of the package."""
        return content

    return asset


def _answer_not_found(_request: AnyRequest, error: NotFoundError) -> Response[ErrorView]:
    body = ErrorBody(message=str(error), code=f"{error.what}_not_found", known=error.known)
    return Response(ErrorView(error=body), status_code=404, media_type=MediaType.JSON)


def _answer_forgotten(_request: AnyRequest, error: RequestNotFoundError) -> Response[ErrorView]:
    body = ErrorBody(message=str(error), code="request_not_found")
    return Response(ErrorView(error=body), status_code=404, media_type=MediaType.JSON)


def _answer_unreadable(_request: AnyRequest, error: LedgerLost) -> Response[ErrorView]:
    body = ErrorBody(message=str(error), type="server_error", code="budget_unavailable")
    return Response(ErrorView(error=body), status_code=503, media_type=MediaType.JSON)


def _answer_refused(_request: AnyRequest, error: ReloadRefused) -> Response[ErrorView]:
    count = len(error.reasons)
    message = (
        f"The configuration has {'a mistake' if count == 1 else f'{count} mistakes'}; the one in use stays as it was."
    )
    body = ErrorBody(message=message, code="config_refused", mistakes=error.reasons)
    return Response(ErrorView(error=body), status_code=422, media_type=MediaType.JSON)


def _answer_http_error(_request: AnyRequest, error: HTTPException) -> Response[ErrorView]:
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    body = ErrorBody(message=error.detail or code, code=code)
    return Response(ErrorView(error=body), status_code=error.status_code, media_type=MediaType.JSON)


def _answer_failure(request: AnyRequest, error: Exception) -> Response[ErrorView]:
    logger.error("%s failed", request.url.path, exc_info=error)
    body = ErrorBody(message="This is a fault of the gateway; its log says more.", type="server_error", code="internal")
    return Response(ErrorView(error=body), status_code=500, media_type=MediaType.JSON)
