"""What is somewhere else: a registry, a store, a bus, a collector of telemetry."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from providerrank.apps.config.addresses import find_url_problem
from providerrank.apps.config.mistakes import KeyPath, show
from providerrank.apps.config.sections.checking import Checking
from providerrank.apps.config.tables import TelemetryTable

HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def check_elsewhere(it: Checking) -> None:
    """Registry and engines."""
    registry, engines = it.config.registry, it.config.engines
    if registry.url is not None:
        problem = find_url_problem(registry.url)
        if problem:
            it.say(("registry", "url"), problem)
        else:
            it.note(("registry", "url"), "is not used by this version: each gateway keeps its own record.")
    if engines.bus is not None:
        it.check_secret(("engines", "bus"), engines.bus, address=True)
        it.note(("engines", "bus"), "is not used by this version: nothing is sent between gateways yet.")
    if engines.store is not None and it.check_secret(("engines", "store"), engines.store, address=True):
        scheme, separator, _ = (engines.store.reveal(it.environ) or "").partition("://")
        if not separator or scheme.partition("+")[0] not in {"sqlite", "postgresql"}:
            it.say(
                ("engines", "store"),
                'is not a store this version knows: write "sqlite:///FILE" or "postgresql://USER@HOST/NAME".',
            )


def check_telemetry(it: Checking) -> None:
    """The collector, how much it gets, and what it is sent with."""
    telemetry = it.config.telemetry
    if telemetry.otlp is not None:
        problem = find_url_problem(telemetry.otlp)
        if problem:
            it.say(("telemetry", "otlp"), problem)
        elif urlsplit(telemetry.otlp).path.strip("/"):
            it.say(
                ("telemetry", "otlp"),
                f"is {show(telemetry.otlp)}: leave the path out, it is added for each kind of data, as in "
                '"http://127.0.0.1:4318".',
            )
    elif telemetry != TelemetryTable():
        it.note(("telemetry",), 'sends nothing without a collector: add otlp = "http://127.0.0.1:4318".')
    it.check_number(("telemetry", "sample"), telemetry.sample, "a share of requests is from 0 to 1", least=0, most=1)
    it.check_name(("telemetry", "service"), telemetry.service)
    for name, secret in telemetry.headers.items():
        path: KeyPath = ("telemetry", "headers", name)
        if not HEADER.fullmatch(name):
            it.say(path, f"is {show(name)}, which is no name of a header: letters, digits and - make one.")
        else:
            it.check_secret(path, secret)
