"""Buyers' keys at work: who calls, what they may ask for, what is set aside for a request and charged at its end.

A request of a key with a name goes three steps further than one without: ``Key.narrow`` confines it to the key's
models, tiers and price cap, ``Key.admit`` sets aside the most it can cost, and ``Claim.settle``, on every way a request
can end, charges what it did cost. A process that ends before that leaves it charged in full (``rules.budget``).

What is charged is what endpoints say they used, at list price; for attempts that were cut off, or that the client
walked away from, what is known: the prompt as estimated, and the tokens that were written.

Keys are looked up in a dictionary. How long that takes says nothing of a key: Python's hash of bytes is keyed with a
secret of this process, so nobody can present one that shares part of its way with a right one's, and bytes are
compared only where the whole hash agrees.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from msgspec.structs import replace

from providerrank.gateway.ports import Account, Ledger, LedgerLost
from providerrank.gateway.settings import BuyerKey
from providerrank.gateway.stats import KeyStats, Stats
from providerrank.rules.ask import Ask, UnknownModel
from providerrank.rules.budget import (
    IMAGE_TOKENS,
    MINUTE_US,
    SECOND_US,
    Budget,
    Hold,
    Limit,
    Refusal,
    Standing,
    compute_cost_nusd,
    compute_hold,
)
from providerrank.rules.cells import NUSD_PER_USD, Endpoint
from providerrank.rules.plan import Plan
from providerrank.rules.router import Router
from providerrank.wire.intake import Intake

log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

WITHOUT_OUTPUT = frozenset({"embeddings"})
"""APIs whose answers cost no tokens."""

SOON_US = SECOND_US
"""When a budget that requests under way may yet give back is worth another try."""

DO_NOT_RETRY: Header = (b"x-should-retry", b"false")
"""The official SDKs try again after any 429, in a second or two, unless this tells them not to."""


class KeyRefused(Exception):
    """This key's request is not served. The message is one sentence for the client."""

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, headers: Iterable[Header] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = tuple(headers)


def get_presented(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys a request shows: the bearer one, then that of ``x-api-key``."""
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    found = [key.strip()] if scheme.lower() == b"bearer" else []
    other = headers.get(b"x-api-key")
    if other is not None:
        found.append(other)
    return found


class Keyring:
    """Every key with a name. ``ledger`` has what each has used."""

    def __init__(
        self, keys: Iterable[BuyerKey], ledger: Ledger, stats: Stats, now_us: Callable[[], int] | None = None
    ) -> None:
        """``now_us`` gives Unix time; without it the system's, which other processes go by too. Raises LedgerLost."""
        clock = now_us or _get_time_us
        self.keys = {key.name: Key(key, ledger.open(key.name), stats.add_key(key.name), clock) for key in keys}
        self._by_secret = {key.settings.secret.encode(): key for key in self.keys.values()}

    @property
    def secrets(self) -> frozenset[bytes]:
        """What callers may present."""
        return frozenset(self._by_secret)

    def find(self, headers: Mapping[bytes, bytes], unnamed: frozenset[bytes]) -> Key | None:
        """The key a request shows first; None where that is an ``unnamed`` one, without limits, or none."""
        for presented in get_presented(headers):
            if presented in unnamed:
                return None
            key = self._by_secret.get(presented)
            if key is not None:
                return key
        return None


class Key:
    """One key with a name."""

    __slots__ = ("_account", "_has_headers", "_now_us", "_told_us", "settings", "stats")

    def __init__(self, settings: BuyerKey, account: Account, stats: KeyStats, now_us: Callable[[], int]) -> None:
        self.settings = settings
        self.stats = stats
        self._account = account
        self._now_us = now_us
        self._told_us = 0
        budget = settings.budget
        self._has_headers = budget.requests_per_minute is not None or budget.tokens_per_minute is not None

    def may_use(self, model: str) -> bool:
        """Whether it may ask for a model, by id."""
        allowed = self.settings.models
        return allowed is None or model in allowed

    def narrow(self, ask: Ask, router: Router) -> Ask:
        """The request within what the key may ask for. Raises ``KeyRefused`` or ``UnknownModel``."""
        settings = self.settings
        if settings.models is not None:
            model = router.resolve(ask.model)
            if model is None:
                raise UnknownModel(ask.model, sorted(settings.models))
            if model not in settings.models:
                raise KeyRefused(
                    403,
                    f"Key {settings.name!r} does not have access to model {ask.model!r}; "
                    f"it has access to {', '.join(sorted(settings.models))}.",
                    "model_not_found",
                    "model",
                )
        tier = ask.tier
        if settings.tiers:
            if tier is None:
                tier = settings.tiers[0]
            elif tier not in settings.tiers:
                raise KeyRefused(
                    403,
                    f"Key {settings.name!r} may not use tier {tier!r}; it may use {', '.join(settings.tiers)}.",
                    "tier_not_allowed",
                )
        return replace(ask, tier=tier, price_cap=settings.price_cap, allowed_models=settings.models)

    def admit(self, plan: Plan, intake: Intake) -> Claim:
        """Set aside the most the request can cost. Raises ``KeyRefused`` where a budget has no room for it."""
        settings = self.settings
        prompt = intake.input_tokens + (IMAGE_TOKENS if "vision" in intake.features else 0)
        limit = 0 if intake.api in WITHOUT_OUTPUT else intake.output_tokens
        tokens, cost_nusd = compute_hold(
            prompt, limit, intake.choices, settings.expected_output_tokens, plan.get_dearest()
        )
        now_us = self._now_us()
        try:
            result = self._account.reserve(settings.budget, now_us, tokens, cost_nusd)
        except LedgerLost as error:
            # A limit that cannot be held is not waived.
            self._tell("budget unknown", error, now_us)
            raise KeyRefused(503, "the budget of this key cannot be read just now", "budget_unavailable") from None
        if type(result) is Hold:
            headers: tuple[Header, ...] = ()
            if self._has_headers:
                headers = write_limits(settings.budget, result.minute_requests, result.minute_tokens, MINUTE_US)
            return Claim(self, result, headers)
        assert isinstance(result, Refusal)
        raise _refuse(settings, result, now_us)

    def settle(self, claim: Claim) -> None:
        """Charge what a request used in place of what was set aside for it."""
        now_us = self._now_us()
        try:
            self._account.settle(claim.hold, now_us, claim.input_tokens, claim.output_tokens, claim.cost_nusd)
        except LedgerLost as error:
            self._tell("not settled, stays charged in full", error, now_us)

    def _tell(self, what: str, error: LedgerLost, now_us: int) -> None:
        """Say it once a minute, not at each request."""
        if abs(now_us - self._told_us) >= MINUTE_US:
            self._told_us = now_us
            log.warning("%s: key=%s %s", what, self.settings.name, error)

    def read(self) -> Standing:
        """How the key stands now. Raises ``LedgerLost``."""
        return self._account.read(self._now_us())


class Claim:
    """What one request has been admitted for, and what it has used so far."""

    __slots__ = ("_key", "cost_nusd", "headers", "hold", "input_tokens", "output_tokens", "status")

    def __init__(self, key: Key, hold: Hold, headers: tuple[Header, ...]) -> None:
        self._key = key
        self.hold = hold
        self.headers = headers
        """Of the answer: how much the key has left."""
        self.status = 0
        """Of the answer; 0: the client left before it was whole."""
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_nusd = 0

    @property
    def key_name(self) -> str:
        """Of the key that pays."""
        return self._key.settings.name

    @property
    def head(self) -> bytes:
        """The same as it is written."""
        return b"".join([b"%b: %b\r\n" % line for line in self.headers])

    def charge(self, endpoint: Endpoint, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> None:
        """An attempt used this much; ``cached_tokens`` of the input were found in the endpoint's cache."""
        cost_nusd = compute_cost_nusd(endpoint.price, input_tokens, output_tokens, cached_tokens)
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.cost_nusd += cost_nusd
        self._key.stats.count_use(endpoint.id, input_tokens, output_tokens, cost_nusd)

    def settle(self) -> None:
        """The request has ended; once."""
        self._key.stats.count_request(self.status)
        self._key.settle(self)


# ---- what clients are told -------------------------------------------------------------------------------------------


def write_limits(budget: Budget, requests: int, tokens: int, resets_us: int) -> tuple[Header, ...]:
    """OpenAI's headers for what is left of a minute; ``resets_us`` until all of it is free again."""
    resets = format_duration(resets_us).encode()
    lines: list[Header] = []
    for name, limit, used in (
        (b"requests", budget.requests_per_minute, requests),
        (b"tokens", budget.tokens_per_minute, tokens),
    ):
        if limit is not None:
            lines += [
                (b"x-ratelimit-limit-" + name, b"%d" % limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % max(0, limit - used)),
                (b"x-ratelimit-reset-" + name, resets),
            ]
    return tuple(lines)


def format_duration(us: int) -> str:
    """Time as these headers have it: ``250ms``, ``12.5s``, ``1m0s``; rounded up to milliseconds."""
    ms = -(-max(0, us) // 1_000)
    if ms < 1_000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms / 1_000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _refuse(key: BuyerKey, refusal: Refusal, now_us: int) -> KeyRefused:
    """429: which budget is out, by how much, and when it frees."""
    limits = write_limits(key.budget, refusal.minute_requests, refusal.minute_tokens, refusal.minute_resets_us)
    if refusal.limit is Limit.SPEND:
        message, code, wait_us = _describe_spend(key, refusal, now_us)
    else:
        message, code, wait_us = _describe_minute(key, refusal), "rate_limit_exceeded", refusal.wait_us
    headers = [*limits]
    if wait_us is not None:
        # Rounded up: a client that comes back to the second must not be too early.
        headers.append((b"Retry-After", b"%d" % max(1, -(-wait_us // SECOND_US))))
    if wait_us is None or code == "insufficient_quota":
        headers.append(DO_NOT_RETRY)
    return KeyRefused(429, message, code, headers=headers)


def _describe_minute(key: BuyerKey, refusal: Refusal) -> str:
    limit, unit = refusal.limit.value, "requests" if refusal.limit is Limit.REQUESTS else "tokens"
    asked = f"{refusal.asked:,} token{'' if refusal.asked == 1 else 's'}"
    if refusal.wait_us is None:
        if unit == "requests":
            return f"Key {key.name!r} may make no requests: its {limit} is {refusal.allowed}."
        return (
            f"This request may take {asked}, more than the {limit} of key {key.name!r}, {refusal.allowed:,}: "
            "shorten the prompt or lower max_tokens."
        )
    needs = "" if unit == "requests" else f", and this request may take {asked}"
    return (
        f"Rate limit of key {key.name!r} reached: {refusal.used:,} of {refusal.allowed:,} {limit} are used{needs}. "
        f"Try again in {format_duration(refusal.wait_us)}."
    )


def _describe_spend(key: BuyerKey, refusal: Refusal, now_us: int) -> tuple[str, str, int | None]:
    """Message, code, and when to come back."""
    allowed, used, asked = (_usd(nusd) for nusd in (refusal.allowed, refusal.used, refusal.asked))
    if refusal.wait_us is None:
        message = (
            f"This request may cost {asked}, more than the spend_per_day of key {key.name!r}, {allowed}: "
            "lower max_tokens."
        )
        return message, "insufficient_quota", None
    spent = f"Key {key.name!r} has {used} of its {allowed} for today charged"
    if refusal.is_transient:
        message = (
            f"{spent}, {_usd(refusal.held)} of it set aside for requests under way, and this request may cost {asked}: "
            "try again when they have ended."
        )
        return message, "rate_limit_exceeded", SOON_US
    free = datetime.fromtimestamp((now_us + refusal.wait_us) // SECOND_US, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"{spent}, and this request may cost {asked}: the budget is renewed at {free}.",
        "insufficient_quota",
        (refusal.wait_us),
    )


def _usd(nusd: int) -> str:
    """Dollars, to as many places as it takes to tell it from nothing, two at least."""
    text = f"{nusd / NUSD_PER_USD:.9f}".rstrip("0")
    whole, _, part = text.partition(".")
    return f"${int(whole):,}.{part:0<2}"


def _get_time_us() -> int:
    return time.time_ns() // 1_000
