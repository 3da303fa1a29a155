"""Probes endpoints that nobody asks: whose turn it is (``rules.idle_probes``), what it may cost, and who hears of it.

One process of a gateway does it. Paid probes are charged to an account of their own in the ledger, first as the most
they can cost: so the day's limit holds over restarts and crashes, as it does for keys. Without a ledger nothing is paid
for.
"""

from __future__ import annotations

import asyncio
import logging
import os
from random import Random
from typing import TYPE_CHECKING, Final

from providerrank.gateway.exchange import Exchange
from providerrank.gateway.ports import Account, LedgerLost
from providerrank.gateway.probe import Manner, Probe
from providerrank.rules.ask import RoutingError
from providerrank.rules.budget import DAY_US, MINUTE_US, Budget, Hold
from providerrank.rules.cells import Endpoint
from providerrank.rules.idle_probes import PROMPT_TOKENS, ProbeRules, Round, compute_hold_nusd, is_free
from providerrank.rules.observation import Outcome

if TYPE_CHECKING:
    from providerrank.gateway.server import Gateway

TICK_S: Final = 0.5
"""How often turns are looked at: finer than any wait."""

ACCOUNT: Final = " probes"
"""Of the ledger. No key's name begins with a blank."""

_GOOD: Final = (Outcome.SUCCESS, Outcome.NOBODYS)

log = logging.getLogger(__name__)


class Prober:
    """See the module. ``take`` sets by what rules; it begins with ``start``."""

    def __init__(self, gateway: Gateway, rng: Random) -> None:
        self._gateway = gateway
        self._round = Round(rng)
        self._rules: ProbeRules | None = None
        self._endpoints: dict[str, Endpoint] = {}
        self._manners: dict[str, Manner] = {}
        self._dearest: dict[str, int] = {}
        """What the dearest probe of an endpoint has cost."""
        self._failing: set[str] = set()
        self._live: dict[str, tuple[Probe, Hold | None]] = {}
        self._account: Account | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_on = False
        self._told_day = 0
        self._told_us = 0
        self._id_prefix = b"probe-%b-" % os.urandom(4).hex().encode()
        self._id_count = 0

    @property
    def live(self) -> int:
        """Probes under way."""
        return len(self._live)

    def start(self) -> None:
        """Probe from now on, as the gateway's settings say."""
        if not self._is_on:
            self._is_on = True
            self.take()

    def take(self) -> None:
        """The gateway's settings have changed."""
        if not self._is_on:
            return
        settings = self._gateway.settings
        self._rules = settings.probes
        before, self._endpoints = self._endpoints, {one.endpoint.id: one.endpoint for one in settings.upstreams}
        for name in before:
            if self._endpoints.get(name) != before[name]:
                for table in (self._manners, self._dearest):
                    table.pop(name, None)
        self._failing &= self._endpoints.keys()
        self._told_day = 0
        self._round.take(self._rules, self._endpoints.values(), self._gateway.now_us())
        if self._timer is None and self._rules is not None:
            self._timer = self._gateway.loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """Probe no more; what is under way is dropped."""
        self._is_on = False
        self._rules = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for probe, _ in list(self._live.values()):
            probe.abandon()

    def _tick(self) -> None:
        self._timer = None
        if self._rules is not None:
            self._timer = self._gateway.loop.call_later(TICK_S, self._tick)
            self.look()

    def look(self) -> None:
        """Probe whoever's turn it is."""
        rules, gateway = self._rules, self._gateway
        if rules is None:
            return
        now_us = gateway.now_us()
        for name in self._round.choose(now_us, gateway.router.get_rest):
            if not self._begin(self._endpoints[name], rules, now_us):
                self._round.end(name)

    def _begin(self, endpoint: Endpoint, rules: ProbeRules, now_us: int) -> bool:
        """Whether a probe is under way now."""
        name, hold, hold_nusd = endpoint.id, None, 0
        manner = self._manners.get(name)
        if manner is None:
            manner = self._manners[name] = Manner(endpoint)
        if not is_free(endpoint.price):
            hold_nusd = compute_hold_nusd(endpoint.price, rules.max_tokens, self._dearest.get(name, 0))
            hold = self._reserve(rules, hold_nusd, now_us)
            if hold is None:
                return False
        self._id_count += 1
        request_id = b"%b%x" % (self._id_prefix, self._id_count)
        try:
            probe = Probe(self._gateway, endpoint, manner, rules.max_tokens, request_id, hold_nusd)
        except RoutingError:
            # Above the price cap, or not among the pins: no request would go there.
            if hold is not None:
                self._settle(hold, (0, 0, 0))
            return False
        self._live[name] = probe, hold
        self._gateway.begin_probe(probe)
        return True

    def end(self, exchange: Exchange) -> None:
        """A probe is over."""
        name = next(name for name, (probe, _) in self._live.items() if probe is exchange)
        probe, hold = self._live.pop(name)
        self._round.end(name)
        if hold is not None:
            self._settle(hold, probe.usage)
            self._dearest[name] = max(self._dearest.get(name, 0), probe.usage[2])
        self._tell(name, probe)

    def _tell(self, name: str, probe: Probe) -> None:
        """Say when an endpoint begins to fail its probes, and when it ends."""
        if probe.outcome is Outcome.SUCCESS and name in self._failing:
            self._failing.discard(name)
            log.info("answers probes again: endpoint=%s", name)
        elif probe.outcome not in _GOOD and name not in self._failing and name in self._endpoints:
            self._failing.add(name)
            fault = probe.attempts[0].fault
            log.info("fails a probe: endpoint=%s fault=%s", name, "" if fault is None else fault.name.lower())

    # ---- money ---------------------------------------------------------------------------------------------------

    def _reserve(self, rules: ProbeRules, cost_nusd: int, now_us: int) -> Hold | None:
        """What the day's limit leaves for a probe; None: nothing."""
        ledger = self._gateway.ledger
        if ledger is None:
            return None
        try:
            if self._account is None:
                self._account = ledger.open(ACCOUNT)
            result = self._account.reserve(
                Budget(spend_per_day_nusd=rules.spend_per_day_nusd),
                now_us,
                PROMPT_TOKENS + rules.max_tokens,
                cost_nusd,
            )
        except LedgerLost as error:
            if now_us - self._told_us >= MINUTE_US:
                self._told_us = now_us
                log.warning("no paid probes, since what they cost cannot be kept: %s", error)
            return None
        if isinstance(result, Hold):
            return result
        day = now_us // DAY_US + 1
        if self._told_day != day:
            self._told_day = day
            log.info("no more paid probes today: probes.spend_per_day is used up")
        return None

    def _settle(self, hold: Hold, usage: tuple[int, int, int]) -> None:
        assert self._account is not None
        try:
            self._account.settle(hold, self._gateway.now_us(), *usage)
        except LedgerLost as error:
            # It stays charged in full.
            log.warning("what a probe cost cannot be kept: %s", error)
