"""Writes the admin port's OpenAPI document, which the package ships (``apps.admin`` says why)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
from litestar import Litestar
from litestar.openapi import OpenAPIConfig

from providerrank.apps.admin.app import OPENAPI_FILE, build_handlers
from providerrank.apps.admin.reader import AdminReader, AdminSources
from providerrank.apps.version import VERSION
from providerrank.gateway.stats import Stats
from providerrank.rules.catalog import Catalog
from providerrank.rules.router import Router


def render_openapi() -> bytes:
    """Make the document from the handlers' types, in an order that does not change."""
    reader = AdminReader(
        AdminSources(
            catalog=Catalog(endpoints=()),
            router=Router(Catalog(endpoints=()), Random(0)),
            stats=Stats(),
            is_listening=lambda: False,
            now_us=lambda: 0,
            version=VERSION,
        )
    )
    app = Litestar(
        build_handlers(reader),
        openapi_config=OpenAPIConfig(
            title="ProviderRank admin",
            version=VERSION,
            description="Readiness, metrics and rankings of one gateway. Read only.",
        ),
        logging_config=None,
    )
    document = msgspec.json.encode(app.openapi_schema.to_schema(), order="sorted")
    return msgspec.json.format(document, indent=1) + b"\n"


def main() -> None:
    """Write the document into the package."""
    (Path(__file__).parent / "page" / OPENAPI_FILE).write_bytes(render_openapi())


if __name__ == "__main__":
    main()
