"""What a configuration must satisfy beyond its shape.

Every check runs, whatever the ones before it found, and each mistake is one sentence with its
remedy. ``damaged`` names the places whose value is only a stand-in for something misshapen: what a
rule says of those, or of anything inside them, is dropped, so that one slip is one message.

A *note* is allowed but probably not meant; it stops nothing.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from providerrank.apps.config import (
    CapTable,
    Config,
    EndpointTable,
    KeyPath,
    KeyTable,
    Mistake,
    PriceTable,
    Secret,
    TelemetryTable,
    WeightsTable,
    show,
)
from providerrank.gateway.settings import UPSTREAM_DIALECTS
from providerrank.rules.cells import FEATURES, TASKS, Price
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import compute_expected_cost_nusd
from providerrank.wire.intake import PREFILLS

ENDPOINT_ID = re.compile(
    r"(?P<provider>[A-Za-z0-9][A-Za-z0-9._-]*)/(?P<model>[A-Za-z0-9][A-Za-z0-9._+/:-]*?)"
    r"(?:@[A-Za-z0-9][A-Za-z0-9._-]*)?(?::[A-Za-z0-9][A-Za-z0-9._-]*)?"
)
"""``provider/model[@region][:quantization]``. It goes into a response header: no blanks, only ASCII."""

HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
WEIGHTS_TOLERANCE = 0.001
"""Shares written with three decimals, like thirds, still count as summing to 1."""

MAX_EXPLAIN = 1_000_000
"""Requests that can be explained: about two kilobytes of memory each."""

MAX_PER_MINUTE = 1_000_000_000_000
MAX_SPEND_USD = 1e9
MAX_PROBES = 100_000
"""Of one epoch: what a bundle holds."""
MAX_CONCURRENCY = 256
"""What an account of 64-bit integers holds with room to spare."""

MAX_PROBE_TOKENS = 1_000
"""Of a probe's answer: some models think a little before they say anything; more than this is no probe."""

MAX_WORKERS = 64
"""Past any machine's use: each learns from all the others, which costs a little for every request of theirs."""

MAX_SECONDS = 86_400.0
"""A day: past any request that is still worth waiting for, and a slip of units (milliseconds) shows."""


def check(
    config: Config, environ: Mapping[str, str], damaged: Sequence[KeyPath] = ()
) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...]]:
    """Return every mistake and every note; neither has its line yet."""
    rules = _Rules(config, environ, damaged)
    rules.check_gateway()
    rules.check_buyer()
    rules.check_timeouts()
    for index, endpoint in enumerate(config.endpoints):
        rules.check_endpoint(("endpoints", index), endpoint)
    rules.check_endpoints_together()
    rules.check_models()
    rules.check_fallback_loops()
    rules.check_caps()
    rules.check_tiers()
    rules.check_keys()
    rules.check_probes()
    rules.check_elsewhere()
    rules.check_telemetry()
    rules.check_market()
    return tuple(rules.mistakes), tuple(rules.notes)


class _Rules:
    """The checks of one configuration."""

    def __init__(self, config: Config, environ: Mapping[str, str], damaged: Sequence[KeyPath]) -> None:
        self.config = config
        self.environ = environ
        self.damaged = frozenset(damaged)
        self.mistakes: list[Mistake] = []
        self.notes: list[Mistake] = []
        self.endpoint_ids = [endpoint.id for endpoint in config.endpoints if endpoint.id]
        self.gateway_keys = config.gateway.keys
        self.served = list(dict.fromkeys(endpoint.model for endpoint in config.endpoints if endpoint.model))
        aliases = {alias: model.id for model in config.models for alias in model.aliases}
        self.aliases = {alias: model for alias, model in aliases.items() if alias not in self.served}

    def say(self, path: KeyPath, sentence: str) -> None:
        """Record a mistake, unless the place is already known to be misshapen."""
        if not any(path[:length] in self.damaged for length in range(1, len(path) + 1)):
            self.mistakes.append(Mistake(path, sentence))

    def note(self, path: KeyPath, sentence: str) -> None:
        """Record something allowed that is probably not meant."""
        self.notes.append(Mistake(path, sentence))

    # ---- one table at a time -----------------------------------------------------------------------------------

    def check_gateway(self) -> None:
        """Addresses, keys and sizes."""
        gateway = self.config.gateway
        addresses: dict[str, tuple[str, int]] = {}
        for key in ("listen", "admin"):
            written: str = getattr(gateway, key)
            try:
                addresses[key] = parse_address(written)
            except ValueError as error:
                self.say(("gateway", key), f'is {show(written)}: {error}, as in "127.0.0.1:8080".')
        if len(addresses) == 2 and _is_same_socket(*addresses.values()):
            self.say(
                ("gateway", "admin"),
                f"is {show(gateway.admin)}, the port gateway.listen already takes: give the admin port another number.",
            )
        if "admin" in addresses and not gateway.keys and not is_loopback(addresses["admin"][0]):
            self.say(
                ("gateway", "admin"),
                f"is {show(gateway.admin)}, which other machines can reach, and there is no key to ask them for: "
                'add keys = ["env:PROVIDERRANK_KEY"], or listen on 127.0.0.1.',
            )
        has_keys = bool(gateway.keys or self.config.keys)
        if "listen" in addresses and not has_keys and not is_loopback(addresses["listen"][0]):
            self.note(
                ("gateway", "listen"),
                "is reachable from other machines, but without gateway.keys only this machine may call: "
                'add keys = ["env:PROVIDERRANK_KEY"].',
            )
        self.check_number(
            ("gateway", "workers"),
            gateway.workers,
            f"it counts processes, 1 to {MAX_WORKERS}",
            least=1,
            most=MAX_WORKERS,
        )
        for index, secret in enumerate(gateway.keys):
            self.check_secret(("gateway", "keys", index), secret)
        self.check_number(
            ("gateway", "max_body_mb"), gateway.max_body_mb, "a size is above 0", above=0, unit="megabytes"
        )
        self.check_number(("gateway", "max_pending"), gateway.max_pending, "it is 1 or more", least=1)
        self.check_number(("gateway", "drain"), gateway.drain, "a time is 0 or more", least=0, unit="seconds")
        self.check_number(
            ("gateway", "explain"),
            gateway.explain,
            f"it counts requests, 0 to {MAX_EXPLAIN:,}",
            least=0,
            most=MAX_EXPLAIN,
        )

    def check_buyer(self) -> None:
        """Cap, weights, exploration and hedging."""
        buyer = self.config.buyer
        if buyer.price_cap is not None:
            for side in ("input", "output"):
                price: float = getattr(buyer.price_cap, side)
                self.check_number(
                    ("buyer", "price_cap", side), price, "a cap is above 0", above=0, unit="USD per million tokens"
                )
        self.check_weights(("buyer", "weights"), buyer.weights)
        for key in ("exploration", "hedge"):
            share: float = getattr(buyer, key)
            self.check_number(("buyer", key), share, "a share of requests is from 0 to 1", least=0, most=1)

    def check_timeouts(self) -> None:
        """Every clock is above zero, but for patience, which may be none."""
        timeouts = self.config.timeouts
        for key in ("connect", "first_token", "idle", "total", "patience"):
            seconds: float | str = getattr(timeouts, key)
            if isinstance(seconds, str):
                continue
            path = ("timeouts", key)
            if key == "patience":
                self.check_number(path, seconds, "a wait is 0 or more", least=0, unit="seconds")
            else:
                self.check_number(path, seconds, "a time limit is above 0", above=0, unit="seconds")
            if math.isfinite(seconds) and seconds > MAX_SECONDS:
                self.say(path, f"is {seconds:g}, more than a day: write seconds, not milliseconds.")

    def check_endpoint(self, path: KeyPath, endpoint: EndpointTable) -> None:
        """One endpoint by itself."""
        if not ENDPOINT_ID.fullmatch(endpoint.id):
            self.say(
                (*path, "id"),
                f"is {show(endpoint.id)}: an id is provider/model, then @region and :quantization if need be, "
                "of letters, digits and . _ + / -, without blanks.",
            )
        self.check_name((*path, "model"), endpoint.model)
        if endpoint.upstream_model is not None:
            self.check_name((*path, "upstream_model"), endpoint.upstream_model)
        self.check_base_url((*path, "base_url"), endpoint)
        if endpoint.key is not None:
            self.check_secret((*path, "key"), endpoint.key)
        for side in ("input", "output", "cached_input"):
            price: float | None = getattr(endpoint.price, side)
            if price is not None:
                self.check_number(
                    (*path, "price", side), price, "a price is 0 or more", least=0, unit="USD per million tokens"
                )
        if endpoint.context_window is not None:
            self.check_number(
                (*path, "context_window"), endpoint.context_window, "it counts tokens, 1 or more", least=1
            )
        for index, feature in enumerate(endpoint.features or ()):
            if feature not in FEATURES:
                self.say(
                    (*path, "features", index),
                    f"is {show(feature)}, which is no feature: {_suggest(feature, FEATURES)}; "
                    f"there are {', '.join(FEATURES)}.",
                )

        if endpoint.dialect is not None and endpoint.dialect not in UPSTREAM_DIALECTS:
            self.say(
                (*path, "dialect"),
                f"is {show(endpoint.dialect)}: {_suggest(endpoint.dialect, UPSTREAM_DIALECTS)}; an endpoint speaks "
                f"{' or '.join(UPSTREAM_DIALECTS)}.",
            )

        if endpoint.prefill is not None and endpoint.prefill not in PREFILLS:
            self.say(
                (*path, "prefill"),
                f"is {show(endpoint.prefill)}: write one of {', '.join(PREFILLS)}; an endpoint that needs nothing "
                'beside the message has the feature "prefill" instead.',
            )

    def check_base_url(self, path: KeyPath, endpoint: EndpointTable) -> None:
        """An address the gateway can reach, without anything secret in it."""
        problem = find_url_problem(endpoint.base_url)
        if problem:
            self.say(path, problem)
            return
        url = urlsplit(endpoint.base_url)
        if url.path.rstrip("/").endswith(("/completions", "/embeddings", "/responses", "/messages", "/models")):
            self.say(
                path,
                f"is {show(endpoint.base_url)}, the address of one operation: leave out what follows /v1, "
                "the gateway adds it.",
            )
        if url.scheme == "http" and endpoint.key is not None and not is_loopback(url.hostname or ""):
            self.note(path, "is plain http to another machine, so its key travels unencrypted: write https if it can.")

    def check_endpoints_together(self) -> None:
        """There is one, and none is there twice."""
        if not self.config.endpoints:
            self.say(
                ("endpoints",),
                'is empty, so there is nowhere to route to: add a table under the header "[[endpoints]]".',
            )
        first: dict[str, int] = {}
        for index, endpoint in enumerate(self.config.endpoints):
            # Preferences in requests name endpoints without regard to case, so neither may ids differ in it alone.
            earlier = first.setdefault(endpoint.id.casefold(), index)
            if endpoint.id and earlier != index:
                self.say(
                    ("endpoints", index, "id"),
                    f"is {show(endpoint.id)}, the id of endpoints[{earlier}] already: "
                    "tell them apart with @region or :quantization, or remove one.",
                )

    # ---- models ------------------------------------------------------------------------------------------------

    def check_models(self) -> None:
        """Names that must be known are, and those that must be free are."""
        first: dict[str, int] = {}
        names: dict[str, str] = {name: f"the model {show(name)}" for name in self.served}
        for index, model in enumerate(self.config.models):
            path: KeyPath = ("models", index)
            earlier = first.setdefault(model.id, index)
            if earlier != index:
                self.say((*path, "id"), f"is {show(model.id)}, the id of models[{earlier}] already: keep one of them.")
            elif model.id not in self.served:
                self.say(
                    (*path, "id"),
                    f"is {show(model.id)}, which no endpoint serves: {_suggest(model.id, self.served)}, "
                    "or add an endpoint with this model.",
                )
            for number, alias in enumerate(model.aliases):
                where = (*path, "aliases", number)
                if alias in names:
                    self.say(
                        where, f"is {show(alias)}, already the name of {names[alias]}: choose another or remove it."
                    )
                else:
                    self.check_name(where, alias)
                    names[alias] = f"an alias of {show(model.id)}"
            self.check_pins(path, index)
            self.check_fallbacks(path, index)

    def check_pins(self, path: KeyPath, index: int) -> None:
        """Pins name endpoints of this model, each once."""
        model = self.config.models[index]
        own = [endpoint.id for endpoint in self.config.endpoints if endpoint.model == model.id and endpoint.id]
        for number, pin in enumerate(model.pin):
            where = (*path, "pin", number)
            if pin not in self.endpoint_ids:
                self.say(where, f"is {show(pin)}, which is no endpoint: {_suggest(pin, own or self.endpoint_ids)}.")
            elif pin not in own:
                self.say(where, f"is {show(pin)}, an endpoint of another model: {_suggest(pin, own)}, or remove it.")
            elif pin in model.pin[:number]:
                self.say(where, f"is {show(pin)} for the second time: keep the first.")
        if model.pin_only and not model.pin:
            self.say((*path, "pin_only"), "is true with no pin, so nothing may be tried: name endpoints in pin.")

    def check_fallbacks(self, path: KeyPath, index: int) -> None:
        """Fallback models are served ones, each once."""
        model = self.config.models[index]
        for number, name in enumerate(model.fallback_models):
            where = (*path, "fallback_models", number)
            if self.aliases.get(name, name) not in self.served:
                known = [one for one in (*self.served, *self.aliases) if self.aliases.get(one, one) != model.id]
                remedy = f"{_suggest(name, known)}, or remove it" if known else "add an endpoint with it, or remove it"
                self.say(where, f"is {show(name)}, which no endpoint serves: {remedy}.")
            elif name in model.fallback_models[:number]:
                self.say(where, f"is {show(name)} for the second time: keep the first.")

    def check_fallback_loops(self) -> None:
        """Following fallback models from any model comes to an end."""
        edges = {
            model.id: [self.aliases.get(name, name) for name in model.fallback_models] for model in self.config.models
        }
        told: set[frozenset[str]] = set()
        for index, model in enumerate(self.config.models):
            for number, name in enumerate(model.fallback_models):
                loop = _find_way(edges, self.aliases.get(name, name), model.id)
                if loop and frozenset(loop) not in told:
                    told.add(frozenset(loop))
                    chain = " -> ".join((model.id, *loop))
                    self.say(
                        ("models", index, "fallback_models", number),
                        f"closes a loop of fallback models ({chain}): remove one of these steps.",
                    )

    def check_caps(self) -> None:
        """Some endpoint of every model is within the price cap."""
        cap = self.config.buyer.price_cap
        if cap is None or not all(math.isfinite(side) and side > 0 for side in (cap.input, cap.output)):
            return
        by_model: defaultdict[str, list[EndpointTable]] = defaultdict(list)
        for endpoint in self.config.endpoints:
            by_model[endpoint.model].append(endpoint)
        # A stand-in for a price that could not be read says nothing of the cap.
        unknown = {
            endpoint.model
            for index, endpoint in enumerate(self.config.endpoints)
            if any(path[:3] == ("endpoints", index, "price") for path in self.damaged)
        }
        for model, endpoints in by_model.items():
            if not model or model in unknown or not all(_is_above(endpoint.price, cap) for endpoint in endpoints):
                continue
            cheapest = min(endpoints, key=lambda endpoint: endpoint.price.input + endpoint.price.output)
            self.say(
                ("buyer", "price_cap"),
                f"is {{ input = {cap.input:g}, output = {cap.output:g} }}, below every price of {show(model)}: "
                f"raise it to {{ input = {cheapest.price.input:g}, output = {cheapest.price.output:g} }} or more "
                f"for its cheapest endpoint, {cheapest.id}.",
            )

    # ---- the rest ----------------------------------------------------------------------------------------------

    def check_tiers(self) -> None:
        """Names are free and numbers in range."""
        first: dict[str, int] = {}
        for index, tier in enumerate(self.config.tiers):
            path: KeyPath = ("tiers", index)
            self.check_name((*path, "name"), tier.name)
            earlier = first.setdefault(tier.name, index)
            if earlier != index and tier.name:
                self.say((*path, "name"), f"is {show(tier.name)}, the name of tiers[{earlier}] already: rename one.")
            if tier.min_reputation is not None:
                self.check_number(
                    (*path, "min_reputation"), tier.min_reputation, "a reputation is from 0 to 1", least=0, most=1
                )
            if tier.weights is not None:
                self.check_weights((*path, "weights"), tier.weights)
            self.check_number((*path, "price_cap_factor"), tier.price_cap_factor, "a factor is above 0", above=0)

    def check_keys(self) -> None:
        """Names and secrets are each one key's; what a key is confined to exists; limits are in range."""
        first: dict[str, int] = {}
        secrets = {secret.reveal(self.environ): f"gateway.keys[{at}]" for at, secret in enumerate(self.gateway_keys)}
        known_models = (*self.served, *self.aliases)
        known_tiers = [tier.name for tier in self.config.tiers]
        for index, key in enumerate(self.config.keys):
            path: KeyPath = ("keys", index)
            self.check_name((*path, "name"), key.name)
            earlier = first.setdefault(key.name, index)
            if earlier != index and key.name:
                self.say((*path, "name"), f"is {show(key.name)}, the name of keys[{earlier}] already: rename one.")
            if self.check_secret((*path, "key"), key.key):
                other = secrets.setdefault(key.key.reveal(self.environ), f"keys[{index}]")
                if other != f"keys[{index}]":
                    self.say((*path, "key"), f"is the key of {other} too: whose request it is could not be told.")
            if key.models is not None and not key.models:
                self.say((*path, "models"), "is empty, so nothing may be asked for: name models, or leave it out.")
            self.check_known((*path, "models"), key.models or (), known_models, "no model or alias here")
            self.check_known((*path, "tiers"), key.tiers, known_tiers, "no tier here")
            self.check_key_limits(path, key)
            self.check_key_cap((*path, "price_cap"), key)

    def check_known(self, path: KeyPath, names: Sequence[str], known: Sequence[str], otherwise: str) -> None:
        """Each name is a known one."""
        for number, name in enumerate(names):
            if name not in known:
                self.say((*path, number), f"is {show(name)}, {otherwise}: {_suggest(name, known)}, or remove it.")

    def check_key_limits(self, path: KeyPath, key: KeyTable) -> None:
        """Limits that let something through, and that an account can count."""
        for limit in ("requests_per_minute", "tokens_per_minute", "expected_output"):
            value: int | None = getattr(key, limit)
            if value is not None:
                self.check_number(
                    (*path, limit), value, f"it is from 1 to {MAX_PER_MINUTE}", least=1, most=MAX_PER_MINUTE
                )
        if key.spend_per_day is not None:
            self.check_number(
                (*path, "spend_per_day"),
                key.spend_per_day,
                "a budget is above 0 and at most a billion",
                above=0,
                most=MAX_SPEND_USD,
                unit="USD",
            )

    def check_key_cap(self, path: KeyPath, key: KeyTable) -> None:
        """A cap is above zero, and something is within it."""
        cap = key.price_cap
        if cap is None:
            return
        for side in ("input", "output"):
            self.check_number(
                (*path, side), getattr(cap, side), "a cap is above 0", above=0, unit="USD per million tokens"
            )
        if not all(math.isfinite(side) and side > 0 for side in (cap.input, cap.output)):
            return
        models = None if key.models is None else {self.aliases.get(name, name) for name in key.models}
        priced = [one for one in self.config.endpoints if models is None or one.model in models]
        if priced and all(_is_above(endpoint.price, cap) for endpoint in priced):
            self.note(path, "is below every price of what the key may ask for, so nothing will be served: raise it.")

    def check_probes(self) -> None:
        """How often, for how much, and whom."""
        probes = self.config.probes
        self.check_number(
            ("probes", "interval"),
            probes.interval,
            "an interval is from 1 second to a day",
            least=1,
            most=MAX_SECONDS,
            unit="seconds",
        )
        self.check_number(
            ("probes", "spend_per_day"),
            probes.spend_per_day,
            "a budget is above 0 and at most a billion",
            above=0,
            most=MAX_SPEND_USD,
            unit="USD",
        )
        self.check_number(
            ("probes", "max_tokens"),
            probes.max_tokens,
            f"it is from 1 to {MAX_PROBE_TOKENS}",
            least=1,
            most=MAX_PROBE_TOKENS,
        )
        self.check_known(("probes", "only"), probes.only or (), self.endpoint_ids, "which is no endpoint")
        if probes.only and not probes.paid:
            prices = {endpoint.id: endpoint.price for endpoint in self.config.endpoints}
            for number, name in enumerate(probes.only):
                price = prices.get(name)
                if price is not None and (price.input or price.output or price.cached_input):
                    self.note(
                        ("probes", "only", number),
                        f"is {show(name)}, which costs money and so is not probed: add paid = true, or remove it.",
                    )

    def check_elsewhere(self) -> None:
        """Registry and engines."""
        registry, engines = self.config.registry, self.config.engines
        if registry.url is not None:
            problem = find_url_problem(registry.url)
            if problem:
                self.say(("registry", "url"), problem)
            else:
                self.note(("registry", "url"), "is not used by this version: each gateway keeps its own record.")
        if engines.bus is not None:
            self.check_secret(("engines", "bus"), engines.bus, address=True)
            self.note(("engines", "bus"), "is not used by this version: nothing is sent between gateways yet.")
        if engines.store is not None and self.check_secret(("engines", "store"), engines.store, address=True):
            scheme, separator, _ = (engines.store.reveal(self.environ) or "").partition("://")
            if not separator or scheme.partition("+")[0] not in {"sqlite", "postgresql"}:
                self.say(
                    ("engines", "store"),
                    'is not a store this version knows: write "sqlite:///FILE" or "postgresql://USER@HOST/NAME".',
                )

    def check_market(self) -> None:
        """Files, addresses, limits and sizes of the neurons; their keys are looked at when one is run."""
        config = self.config
        miner, validator, market = config.miner, config.validator, config.market
        for path, written in (
            (("miner", "listen"), miner.listen),
            (("miner", "announce"), miner.announce),
            (("miner", "metrics"), miner.metrics),
            (("validator", "metrics"), validator.metrics),
        ):
            if written is None:
                continue
            try:
                parse_address(written)
            except ValueError as error:
                self.say(path, f'is {show(written)}: {error}, as in "127.0.0.1:9100".')
        for path, name in (
            (("chain", "file"), config.chain.file),
            (("miner", "journal"), miner.journal),
            (("validator", "journal"), validator.journal),
        ):
            if not name:
                self.say(path, "is empty: name a file.")
        for path, usd in (
            (("miner", "spend_per_day"), miner.spend_per_day),
            (("miner", "spend_per_epoch"), miner.spend_per_epoch),
            (("validator", "spend_per_day"), validator.spend_per_day),
        ):
            if usd is not None:
                self.check_number(path, usd, "a limit is 0 or more", least=0, most=MAX_SPEND_USD, unit="USD")
        for path, count, least, most in (
            (("miner", "probes"), miner.probes, 1, MAX_PROBES),
            (("miner", "concurrency"), miner.concurrency, 1, MAX_CONCURRENCY),
            (("validator", "cells"), validator.cells, 1, MAX_PROBES),
            (("validator", "references"), validator.references, 2, 100),
            (("validator", "concurrency"), validator.concurrency, 1, MAX_CONCURRENCY),
            (("market", "long_context_characters"), market.long_context_characters, 1_000, 1_000_000),
        ):
            if not least <= count <= most:
                self.say(path, f"is {count}: write a number from {least} to {most}.")
        if not market.tasks:
            self.say(("market", "tasks"), "is empty: name at least one task.")
        for at, task in enumerate(market.tasks):
            if task not in TASKS or task in market.tasks[:at]:
                self.say(("market", "tasks", at), f"is {show(task)}: name each of {', '.join(TASKS)} at most once.")

    def check_telemetry(self) -> None:
        """The collector, how much it gets, and what it is sent with."""
        telemetry = self.config.telemetry
        if telemetry.otlp is not None:
            problem = find_url_problem(telemetry.otlp)
            if problem:
                self.say(("telemetry", "otlp"), problem)
            elif urlsplit(telemetry.otlp).path.strip("/"):
                self.say(
                    ("telemetry", "otlp"),
                    f"is {show(telemetry.otlp)}: leave the path out, it is added for each kind of data, as in "
                    '"http://127.0.0.1:4318".',
                )
        elif telemetry != TelemetryTable():
            self.note(("telemetry",), 'sends nothing without a collector: add otlp = "http://127.0.0.1:4318".')
        self.check_number(
            ("telemetry", "sample"), telemetry.sample, "a share of requests is from 0 to 1", least=0, most=1
        )
        self.check_name(("telemetry", "service"), telemetry.service)
        for name, secret in telemetry.headers.items():
            path: KeyPath = ("telemetry", "headers", name)
            if not HEADER.fullmatch(name):
                self.say(path, f"is {show(name)}, which is no name of a header: letters, digits and - make one.")
            else:
                self.check_secret(path, secret)

    # ---- kinds of value ----------------------------------------------------------------------------------------

    def check_number(
        self,
        path: KeyPath,
        value: float,
        rule: str,
        *,
        least: float | None = None,
        above: float | None = None,
        most: float | None = None,
        unit: str = "",
    ) -> None:
        """Finite and in range; ``rule`` says the range in words."""
        too_small = (least is not None and value < least) or (above is not None and value <= above)
        if not math.isfinite(value) or too_small or (most is not None and value > most):
            remedy = f"write it in {unit}" if unit else "write a number in that range"
            self.say(path, f"is {value:g}, and {rule}: {remedy}.")

    def check_name(self, path: KeyPath, name: str) -> None:
        """Something a request can name: not empty, no blanks around it, nothing invisible."""
        if not name or name != name.strip() or not name.isprintable():
            self.say(path, f"is {show(name)}: a name is at least one visible character, with no blanks around it.")

    def check_weights(self, path: KeyPath, weights: WeightsTable) -> None:
        """Not negative, and summing to 1."""
        shares = (weights.reputation, weights.price)
        for key, share in zip(("reputation", "price"), shares, strict=True):
            self.check_number((*path, key), share, "a weight is from 0 to 1", least=0, most=1)
        total = sum(shares)
        if all(math.isfinite(share) and 0 <= share <= 1 for share in shares) and abs(total - 1) > WEIGHTS_TOLERANCE:
            remedy = "write { reputation = 0.6, price = 0.4 } or other shares of 1"
            if total:
                scaled = round(weights.reputation / total, 3)
                remedy = (
                    f"in the same proportion that is {{ reputation = {scaled:g}, price = {round(1 - scaled, 3):g} }}"
                )
            self.say(path, f"is {weights.reputation:g} and {weights.price:g}, and weights sum to 1: {remedy}.")

    def check_secret(self, path: KeyPath, secret: Secret, *, address: bool = False) -> bool:
        """Set, and fit for a header; says nothing of what it is. Return whether it can be used.

        An ``address`` is secret only where it has a password in it.
        """
        name = secret.variable
        value = secret.reveal(self.environ)
        if name is not None and not VARIABLE.fullmatch(name):
            self.say(path, 'names no variable after "env:": write letters, digits and _ there, as in "env:MY_KEY".')
        elif name is not None and value is None:
            self.say(path, f"needs the environment variable {name}, which is not set: export {name}=… and start again.")
        elif name is not None and not value:
            self.say(path, f"needs the environment variable {name}, which is empty: export {name}=… and start again.")
        elif not value:
            self.say(path, 'is empty: write "env:NAME", with the variable that holds it, or remove the key.')
        elif not address and (not value.isascii() or not value.isprintable() or " " in value):
            where = f"what the environment variable {name} holds" if name else "what is written here"
            self.say(path, f"cannot be sent as a key: {where} has a blank, a line break or a letter outside ASCII.")
        else:
            if name is None and (not address or urlsplit(value).password is not None):
                self.note(path, 'holds the secret itself: write "env:NAME" and keep it out of the file.')
            return True
        return False


def parse_address(written: str) -> tuple[str, int]:
    """Split ``host:port``, brackets around IPv6; raises ``ValueError`` with a phrase that says what is wrong."""
    host, colon, port = written.rpartition(":")
    if not colon or not host:
        msg = "an address is host:port"
        raise ValueError(msg)
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        msg = "a port is a number from 0 to 65535"
        raise ValueError(msg)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif ":" in host:
        msg = "an IPv6 address stands in brackets"
        raise ValueError(msg)
    elif not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host):
        msg = "a host is a name or an IP address"
        raise ValueError(msg)
    elif re.fullmatch(r"[0-9.]+", host):
        ipaddress.IPv4Address(host)
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_url_problem(written: str) -> str | None:
    """Return what is wrong with an http address, with the remedy; a password in it is not repeated."""
    example = 'as in "https://api.example.com/v1"'
    try:
        url = urlsplit(written)
        hidden = url.username is not None or url.password is not None
        host, port = url.hostname, url.port
    except ValueError:
        return f"is not an address (its host or port makes no sense): write http:// or https:// and a host, {example}."
    if hidden or url.query or url.fragment:
        part = "a user name or password" if hidden else "something after ? or #"
        return f"has {part} in it: leave that out, keys go in key, {example}."
    if any(character.isspace() or not character.isprintable() for character in written) or not written.isascii():
        return f"has a blank, a line break or a letter outside ASCII in it: write a plain address, {example}."
    if url.scheme not in {"http", "https"} or not host:
        shown = "text" if "@" in written else show(written)
        return f"is {shown}, not an address of an API: write http:// or https:// and a host, {example}."
    if port == 0:
        return f"is {show(written)}, and no server has port 0: write the port it listens on, {example}."
    return None


def _is_same_socket(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether two listeners would collide. Port 0 asks for any free port, so it never does."""
    wildcards = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound
    hosts = {host.lower().replace("localhost", "127.0.0.1") for host in (one[0], other[0])}
    return one[1] == other[1] != 0 and (len(hosts) == 1 or bool(hosts & wildcards))


def _is_above(price: PriceTable, cap: CapTable) -> bool:
    """Whether the router leaves an endpoint out for its price, whatever the task."""
    if not all(math.isfinite(side) for side in (price.input, price.output)):
        return False
    listed, most = Price.from_usd(price.input, price.output), Price.from_usd(cap.input, cap.output)
    return all(
        compute_expected_cost_nusd(listed, task) > compute_expected_cost_nusd(most, task)
        for task in PARAMS.tasks.values()
    )


def _find_way(edges: Mapping[str, Iterable[str]], start: str, goal: str) -> list[str] | None:
    """Return the names from ``start`` to ``goal`` along fallback models, both included, or None."""
    ways = [[start]]
    seen = {start}
    for way in ways:
        if way[-1] == goal:
            return way
        for step in edges.get(way[-1], ()):
            if step not in seen:
                seen.add(step)
                ways.append([*way, step])
    return None


def _suggest(wrong: str, known: Iterable[str]) -> str:
    """Return "did you mean …", or what there is to choose from."""
    from difflib import get_close_matches

    choices = list(known)
    near = get_close_matches(wrong, choices, 1)
    if near:
        return f"the nearest is {show(near[0])}"
    if not choices:
        return "there is none to name"
    listed = ", ".join(choices[:5])
    return (
        f"the known ones are {listed}" if len(choices) <= 5 else f"known ones are {listed} and {len(choices) - 5} more"
    )
