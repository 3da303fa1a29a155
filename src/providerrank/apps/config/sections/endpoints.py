"""Endpoints: each by itself, and all of them together."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from providerrank.apps.config.addresses import find_url_problem, is_loopback
from providerrank.apps.config.mistakes import KeyPath, show
from providerrank.apps.config.sections.checking import Checking, suggest
from providerrank.apps.config.tables import EndpointTable
from providerrank.gateway.settings import UPSTREAM_DIALECTS
from providerrank.rules.cells import FEATURES
from providerrank.wire.intake import PREFILLS

ENDPOINT_ID = re.compile(
    r"(?P<provider>[A-Za-z0-9][A-Za-z0-9._-]*)/(?P<model>[A-Za-z0-9][A-Za-z0-9._+/:-]*?)"
    r"(?:@[A-Za-z0-9][A-Za-z0-9._-]*)?(?::[A-Za-z0-9][A-Za-z0-9._-]*)?"
)
"""``provider/model[@region][:quantization]``. It goes into a response header: no blanks, only ASCII."""


def check_endpoints(it: Checking) -> None:
    """Each by itself, then that there is one and none is there twice."""
    for index, endpoint in enumerate(it.config.endpoints):
        _check_endpoint(it, ("endpoints", index), endpoint)
    _check_endpoints_together(it)


def _check_endpoint(it: Checking, path: KeyPath, endpoint: EndpointTable) -> None:
    """One endpoint by itself."""
    if not ENDPOINT_ID.fullmatch(endpoint.id):
        it.say(
            (*path, "id"),
            f"is {show(endpoint.id)}: an id is provider/model, then @region and :quantization if need be, "
            "of letters, digits and . _ + / -, without blanks.",
        )
    it.check_name((*path, "model"), endpoint.model)
    if endpoint.upstream_model is not None:
        it.check_name((*path, "upstream_model"), endpoint.upstream_model)
    _check_base_url(it, (*path, "base_url"), endpoint)
    if endpoint.key is not None:
        it.check_secret((*path, "key"), endpoint.key)
    for side in ("input", "output", "cached_input"):
        price: float | None = getattr(endpoint.price, side)
        if price is not None:
            it.check_number(
                (*path, "price", side), price, "a price is 0 or more", least=0, unit="USD per million tokens"
            )
    if endpoint.context_window is not None:
        it.check_number((*path, "context_window"), endpoint.context_window, "it counts tokens, 1 or more", least=1)
    for index, feature in enumerate(endpoint.features or ()):
        if feature not in FEATURES:
            it.say(
                (*path, "features", index),
                f"is {show(feature)}, which is no feature: {suggest(feature, FEATURES)}; "
                f"there are {', '.join(FEATURES)}.",
            )

    if endpoint.dialect is not None and endpoint.dialect not in UPSTREAM_DIALECTS:
        it.say(
            (*path, "dialect"),
            f"is {show(endpoint.dialect)}: {suggest(endpoint.dialect, UPSTREAM_DIALECTS)}; an endpoint speaks "
            f"{' or '.join(UPSTREAM_DIALECTS)}.",
        )

    if endpoint.prefill is not None and endpoint.prefill not in PREFILLS:
        it.say(
            (*path, "prefill"),
            f"is {show(endpoint.prefill)}: write one of {', '.join(PREFILLS)}; an endpoint that needs nothing "
            'beside the message has the feature "prefill" instead.',
        )


def _check_base_url(it: Checking, path: KeyPath, endpoint: EndpointTable) -> None:
    """An address the gateway can reach, without anything secret in it."""
    problem = find_url_problem(endpoint.base_url)
    if problem:
        it.say(path, problem)
        return
    url = urlsplit(endpoint.base_url)
    if url.path.rstrip("/").endswith(("/completions", "/embeddings", "/responses", "/messages", "/models")):
        it.say(
            path,
            f"is {show(endpoint.base_url)}, the address of one operation: leave out what follows /v1, "
            "the gateway adds it.",
        )
    if url.scheme == "http" and endpoint.key is not None and not is_loopback(url.hostname or ""):
        it.note(path, "is plain http to another machine, so its key travels unencrypted: write https if it can.")


def _check_endpoints_together(it: Checking) -> None:
    """There is one, and none is there twice."""
    if not it.config.endpoints:
        it.say(
            ("endpoints",),
            'is empty, so there is nowhere to route to: add a table under the header "[[endpoints]]".',
        )
    first: dict[str, int] = {}
    for index, endpoint in enumerate(it.config.endpoints):
        # Preferences in requests name endpoints without regard to case, so neither may ids differ in it alone.
        earlier = first.setdefault(endpoint.id.casefold(), index)
        if endpoint.id and earlier != index:
            it.say(
                ("endpoints", index, "id"),
                f"is {show(endpoint.id)}, the id of endpoints[{earlier}] already: "
                "tell them apart with @region or :quantization, or remove one.",
            )
