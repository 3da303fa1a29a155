"""Begins the workers, minds them, and brings together what they know.

* Every worker has a listening socket of its own at the one address; all are opened here and known to all. A worker that
  ends is begun anew, after a while if it keeps ending. Until it is back another accepts at its socket, so connections
  that wait there are served; what was under way on the dead worker is closed by the kernel.
* What one sees the others are told, and so is the router of this process, which is what the admin port shows and
  the store keeps. One that begins later is given what that router knows.
* Counters are summed over those who serve and those who have ended: they never go back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from providerrank.apps import compose
from providerrank.apps.admin.requests import RequestSource
from providerrank.apps.config import Loaded
from providerrank.apps.config.addresses import parse_address
from providerrank.apps.failures import CommandFailed
from providerrank.apps.plane import Plane, Windows
from providerrank.apps.workers import messages
from providerrank.apps.workers.asking import CrewRequests
from providerrank.apps.workers.link import Link
from providerrank.apps.workers.places import STEADY_S, compute_adoptions, compute_wait_s
from providerrank.apps.workers.sockets import open_sockets
from providerrank.gateway.keys import Keyring
from providerrank.gateway.stats import KeyStats, Stats
from providerrank.gateway.tally import Figures, drop_gauges, refill, write_figures
from providerrank.rules.cells import Cell
from providerrank.rules.router import Router
from providerrank.rules.verified import Verified

if TYPE_CHECKING:
    from providerrank.apps.admin.usage import KeyReading

logger = logging.getLogger("providerrank.workers")

BEGIN_S = 60.0
"""A worker that does not serve this long after it was begun is ended."""

ANSWER_S = 2.0
"""How long a worker may take to answer; a turn of its loop takes milliseconds."""

RELOAD_S = 20.0
"""And to take a configuration of thousands of endpoints, off its loop."""

FAILURES_AT_START = 3
"""Workers that end in a row before any has served: more would not help."""

LEAVE_S = 5.0
"""Beyond the time for draining, before a worker that has not left is ended."""

FREE_S = 3.0
"""How long to wait for the address: workers of a gateway that was killed take a moment to see it and leave."""

_decode_figures: msgspec.msgpack.Decoder[Figures] = msgspec.msgpack.Decoder(Figures)


@dataclass
class Member:
    """One worker process."""

    index: int
    process: asyncio.subprocess.Process
    link: Link
    is_ready: bool = False
    figures: Figures | None = None
    """Its counters as told last."""


class Crew(Plane):
    """See the module. ``router`` learns from all."""

    def __init__(self, loaded: Loaded, router: Router) -> None:
        self.stats = Stats()
        self._loaded = loaded
        self._router = router
        self._count = loaded.config.gateway.workers
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._sockets: list[socket.socket] = []
        self._ledger = compose.build_ledger(loaded)
        self._keyring = self._open_keys(loaded)
        self._members: dict[int, Member] = {}
        self._minding: list[asyncio.Task[None]] = []
        self._adoptions: dict[int, int] = {}
        self._prober: Member | None = None
        """Who probes idle endpoints for all."""
        self._own = Stats()
        """What is counted here."""
        self._gone: Figures = write_figures(Stats())
        """Counters of workers that have ended."""
        self._terms = 0
        """Grows with each configuration."""
        self._heard: set[int] = set()
        """Who has told its counts since the last configuration."""
        self._verified: bytes | None = None
        """What workers were told of it last."""
        self._failed_at_start = 0
        self._started = asyncio.Event()
        self._ending = asyncio.Event()
        """Set once draining."""

    # ---- as a plane ----------------------------------------------------------------------------------------------

    @override
    async def start(self) -> None:
        self._sockets = await self._open()
        for index in range(self._count):
            self._minding.append(asyncio.create_task(self._mind(index), name=f"worker {index}"))
        await self._started.wait()
        if not self._ready:
            await self.drain()
            raise CommandFailed("gateway.workers: they end before they can serve; what they wrote above says why.")

    @property
    @override
    def address(self) -> tuple[str, int]:
        host, port = parse_address(self._loaded.config.gateway.listen)
        return host, self._sockets[0].getsockname()[1] if self._sockets else port

    @property
    @override
    def is_ready(self) -> bool:
        return not self._ending.is_set() and bool(self._ready)

    @property
    @override
    def requests(self) -> RequestSource:
        return CrewRequests(self, self._loaded.config.gateway.explain)

    @override
    def read_keys(self) -> list[KeyReading]:
        from providerrank.apps.admin.usage import KeyReading

        return [
            KeyReading(key.settings, key.read(), self.stats.keys.get(name, KeyStats()))
            for name, key in self._keyring.keys.items()
        ]

    @override
    def now_us(self) -> int:
        return (time.monotonic_ns() + self._epoch_ns) // 1000

    @override
    async def refresh(self) -> None:
        """Ask all; what one does not tell in time is as told last."""
        members = self._ready
        answers = await asyncio.gather(*(member.link.ask(messages.COUNTS, within_s=ANSWER_S) for member in members))
        for member, answer in zip(members, answers, strict=True):
            if answer is not None:
                member.figures = _decode_figures.decode(answer)
        self._combine()

    @override
    async def apply(self, loaded: Loaded, windows: Windows) -> None:
        self._keyring = self._open_keys(loaded)
        self._loaded = loaded
        self._terms += 1
        self._router.reconfigure(compose.build_catalog(loaded.config), windows)
        self._heard = set()
        body = self._write_reload(windows)
        await asyncio.gather(*(self._change(member, body) for member in self._ready))

    @override
    def verify(self, verified: Mapping[Cell, Verified]) -> None:
        self._router.verify(verified)
        self._verified = messages.write_verified(verified)
        for member in self._ready:
            member.link.tell(messages.VERIFIED, self._verified)

    @override
    def count_reload(self, result: str) -> None:
        self._own.count_reload(result)

    @override
    async def drain(self) -> None:
        if self._ending.is_set():
            return
        self._ending.set()
        for one in self._sockets:
            one.close()
        for member in self._members.values():
            member.link.tell(messages.DRAIN)
        within_s = self._loaded.config.gateway.drain + LEAVE_S
        if self._minding:
            _, late = await asyncio.wait(self._minding, timeout=within_s)
            if late:
                self.kill()
                await asyncio.wait(late, timeout=LEAVE_S)
        self._combine()
        self._ledger.close()

    @override
    def kill(self) -> None:
        for member in self._members.values():
            _kill(member.process)

    def _open_keys(self, loaded: Loaded) -> Keyring:
        """The accounts of keys with names, to be read here; the workers charge them."""
        return Keyring(compose.build_buyer_keys(loaded), self._ledger, Stats())

    # ---- for others ----------------------------------------------------------------------------------------------

    async def ask(self, kind: str, body: bytes = b"") -> list[bytes]:
        """Ask every worker that serves; the answers of those that gave one in time."""
        answers = await asyncio.gather(*(m.link.ask(kind, body, within_s=ANSWER_S) for m in self._ready))
        return [answer for answer in answers if answer is not None]

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers that serve."""
        return [member.process.pid for member in self._ready]

    @property
    def prober(self) -> int | None:
        """Process id of the one that probes idle endpoints."""
        return None if self._prober is None else self._prober.process.pid

    @property
    def _ready(self) -> list[Member]:
        return [member for member in self._members.values() if member.is_ready]

    # ---- one worker's life ---------------------------------------------------------------------------------------

    async def _mind(self, index: int) -> None:
        """Have a worker run at this place until draining."""
        failures = 0
        while not self._ending.is_set():
            began_s = time.monotonic()
            code: int | str | None
            try:
                has_served, code = await self._run(index)
            except OSError as error:
                has_served, code = False, error.strerror
            if self._ending.is_set():
                return
            failures = 0 if has_served and time.monotonic() - began_s >= STEADY_S else failures + 1
            wait_s = compute_wait_s(failures)
            logger.warning("worker ended: worker=%d code=%s again_in_s=%g", index, code, wait_s)
            if not self._started.is_set():
                self._failed_at_start += 1
                if self._failed_at_start >= FAILURES_AT_START:
                    self._started.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), wait_s)

    async def _run(self, index: int) -> tuple[bool, int | None]:
        """One worker from beginning to end: whether it served, and its exit code."""
        member = await self._spawn(index)
        has_served = await self._introduce(member)
        if not has_served:
            _kill(member.process)
        code = await member.process.wait()
        # What it said last may still be on its way.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(member.link.lost.wait(), 1.0)
        self._bury(member)
        return has_served, code

    async def _spawn(self, index: int) -> Member:
        ours, theirs = socket.socketpair()
        numbers = [one.fileno() for one in self._sockets]
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Without the current folder among the places that modules come from.
                "-P",
                "-m",
                "providerrank.apps.workers.process",
                str(index),
                str(theirs.fileno()),
                ",".join(map(str, numbers)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *numbers),
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        member = self._members[index] = Member(index, process, Link())
        member.link.on_tell = {
            messages.SEEN: lambda body: self._take_seen(member, body),
            messages.COOLED: lambda body: self._take_cooled(member, body),
            messages.COUNTS: lambda body: self._take_counts(member, body),
            messages.LEAVING: lambda _: self._leave(member),
        }
        await member.link.connect(ours)
        if self._ending.is_set():
            member.link.tell(messages.DRAIN)
        return member

    async def _introduce(self, member: Member) -> bool:
        """Tell a new worker what it needs; whether it serves."""
        terms = self._terms
        windows = self._router.windows(changed_only=False)
        begin = messages.Begin(
            self._write_terms(), self._epoch_ns, messages.write_windows(windows), self._router.conditions()
        )
        if await member.link.ask(messages.BEGIN, messages.encode(begin), within_s=BEGIN_S) is None:
            return False
        if terms != self._terms and not await self._change(member, self._write_reload(windows)):
            return False
        if self._verified is not None:
            member.link.tell(messages.VERIFIED, self._verified)
        member.is_ready = True
        self._place()
        self._started.set()
        return True

    def _leave(self, member: Member) -> None:
        member.is_ready = False
        self._place()

    def _bury(self, member: Member) -> None:
        member.is_ready = False
        del self._members[member.index]
        member.link.close()
        if member.figures is not None:
            parts = [self._gone, drop_gauges(member.figures)]
            total = Stats()
            refill(total, parts)
            self._gone = write_figures(total)
        self._combine()
        self._place()

    def _place(self) -> None:
        """Have somebody accept at every socket, and one probe idle endpoints."""
        if self._ending.is_set():
            return
        ready = self._ready
        if ready and self._prober not in ready:
            self._prober = ready[0]
            self._prober.link.tell(messages.PROBE)
        before = self._adoptions
        self._adoptions = compute_adoptions([member.index for member in self._ready], self._count)
        for orphan, parent in self._adoptions.items():
            if before.get(orphan) != parent:
                self._members[parent].link.tell(messages.ADOPT, messages.encode(orphan))
        for orphan, parent in before.items():
            if self._adoptions.get(orphan) != parent and parent in self._members:
                self._members[parent].link.tell(messages.HAND_BACK, messages.encode(orphan))

    async def _change(self, member: Member, body: bytes) -> bool:
        """Have a worker take another configuration. One that cannot is begun anew with it."""
        if await member.link.ask(messages.RELOAD, body, within_s=RELOAD_S) is not None:
            return True
        _kill(member.process)
        return False

    # ---- what they tell ------------------------------------------------------------------------------------------

    def _take_seen(self, member: Member, body: bytes) -> None:
        self._pass_on(member, messages.SEEN, body, may_miss=True)
        for observation, session in messages.decode_seen(body):
            self._router.observe(observation, session)

    def _take_cooled(self, member: Member, body: bytes) -> None:
        self._pass_on(member, messages.COOLED, body, may_miss=False)
        cooled = messages.decode_cooled(body)
        self._router.cool(cooled.endpoint_id, cooled.until_us)

    def _take_counts(self, member: Member, body: bytes) -> None:
        member.figures = _decode_figures.decode(body)
        self._combine()
        if self._router.has_retired:
            self._heard.add(member.index)
            busy = {name for name, count in self.stats.in_flight.items() if count}
            current = {endpoint.id for endpoint in self._loaded.config.endpoints}
            # What it saw comes before its counts: whoever has none in flight has nothing more to tell.
            if self._heard >= {other.index for other in self._ready} and busy <= current:
                self._router.forget_retired()

    def _combine(self) -> None:
        told = [member.figures for member in self._members.values() if member.figures is not None]
        refill(self.stats, [write_figures(self._own), self._gone, *told])
        self._router.set_in_flight(self.stats.in_flight)

    def _pass_on(self, member: Member, kind: str, body: bytes, *, may_miss: bool) -> None:
        for other in self._members.values():
            if other is not member and other.is_ready:
                other.link.tell(kind, body, may_miss=may_miss)

    # ---- what they are told --------------------------------------------------------------------------------------

    def _write_terms(self) -> messages.Terms:
        loaded = self._loaded
        return messages.Terms(loaded.text, str(loaded.path), dict(loaded.environ))

    def _write_reload(self, windows: Windows) -> bytes:
        return messages.encode(messages.Reload(self._write_terms(), messages.write_windows(list(windows))))

    async def _open(self) -> list[socket.socket]:
        host, port = parse_address(self._loaded.config.gateway.listen)
        deadline_s = time.monotonic() + FREE_S
        while True:
            try:
                return open_sockets(host, port, self._count)
            except OSError:
                if time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(0.1)


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
