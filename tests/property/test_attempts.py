"""Whatever happens to a request's attempts, in any order: the invariants of the fallback machine."""

from __future__ import annotations

from collections import Counter
from copy import copy

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from providerrank.rules.attempt import TABLE, Attempt, Fault, Try
from providerrank.rules.attempts import Action, Answer, Attempts, Drop, Fail, Finish, Hedge, Relay, State, Timing, Wait
from providerrank.rules.cells import Endpoint
from providerrank.rules.hedging import HedgeBudget
from providerrank.rules.observation import Outcome
from tests.playbook import MS, START_US, Pool, S, endpoint

FEATURES = st.sets(st.sampled_from(["prefill", "tools"])).map(frozenset)
WINDOWS = st.sampled_from([None, 4_096, 8_192])
SEEN_ON_THE_WIRE = sorted(
    set(Fault) - {Fault.CONNECT_TIMEOUT, Fault.FIRST_TOKEN_TIMEOUT, Fault.IDLE_TIMEOUT, Fault.TOTAL_TIMEOUT},
    key=lambda fault: fault.name,
)
STEPS_US = st.one_of(
    st.integers(0, 200 * MS), st.integers(0, 5 * S), st.sampled_from([50 * MS, 1 * S, 2 * S, 3 * S, 15 * S, 60 * S])
)


class AttemptsMachine(RuleBasedStateMachine):
    """A driver that does what it is told while the world does what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = START_US
        self.live: list[Attempt] = []
        """What the driver has on the wire, or is about to, by the actions it was given; the second is a hedge."""
        self.over: Action | None = None
        self.gone = False
        self.waiting = False
        self.committed_model: str | None = None
        self.sealed = False
        self.retries: Counter[str] = Counter()

    @initialize(
        pools=st.lists(st.lists(st.tuples(FEATURES, WINDOWS), max_size=4), min_size=1, max_size=3),
        out=st.sets(st.integers(0, 11)),
        total_us=st.sampled_from([100 * MS, 4 * S, 60 * S]),
        patience_us=st.sampled_from([0, 1 * S, 3 * S]),
        jitter=st.floats(0, 1, exclude_max=True),
        silence_us=st.sampled_from([10 * MS, 1 * S, 100 * S]),
        hedge_us=st.sampled_from([None, 0, 60 * MS, 900 * MS]),
        hedges=st.integers(0, 2),
    )
    def begin(
        self,
        pools: list[list[tuple[frozenset[str], int | None]]],
        out: set[int],
        total_us: int,
        patience_us: int,
        jitter: float,
        silence_us: int,
        hedge_us: int | None,
        hedges: int,
    ) -> None:
        models = [
            (f"m{i}", [endpoint(f"e{j}", f"m{i}", features=f, context_window=w) for j, (f, w) in enumerate(pool)])
            for i, pool in enumerate(pools)
        ]
        listed = [e.id for _, endpoints in models for e in endpoints]
        self.pool = Pool(models, out={listed[i] for i in out if i < len(listed)})
        self.listed = listed
        self.silence_us = silence_us
        self.hedge_us = hedge_us
        self.hedges = HedgeBudget(1.0)
        self.hedges.requests = self.paid = hedges
        self.deadline_us = self.now_us + total_us
        self.machine = Attempts(self.pool, Timing(200 * MS, 2 * S, total_us, patience_us), lambda: jitter)
        self.act(self.machine.begin(self.now_us))

    def get_silence_us(self, candidate: Endpoint, budget_us: int) -> int:
        assert any(candidate is attempt.endpoint for attempt in self.live)
        assert budget_us > 0
        return self.silence_us

    def get_hedge_us(self, candidate: Endpoint) -> int | None:
        assert [candidate] == [attempt.endpoint for attempt in self.live], "asked of a request that is hedged"
        assert not self.machine.committed
        return self.hedge_us

    # ---- doing what the machine says, and holding it to its word -------------------------------------------------

    def act(self, action: Action | None) -> None:
        if action is None:
            return
        assert self.over is None, "an action after the end"
        assert not self.gone, "an action for a client that left"
        if isinstance(action, Try):
            assert not self.live, "something else was tried while one was live"
            self.hold_try(action)
            self.live = [action.attempt]
            self.waiting = False
        elif isinstance(action, Hedge):
            self.hold_hedge(action.attempt)
            self.live.append(action.attempt)
        elif isinstance(action, Drop):
            assert len(self.live) == 1, "the driver sees for itself what has failed"
        elif isinstance(action, Wait):
            assert not self.sealed or not self.machine.committed
            assert self.now_us <= action.until_us <= self.deadline_us
            assert not self.live
            self.waiting = True
        elif isinstance(action, Relay):
            [live] = self.live
            self.committed_model = live.model
        else:
            assert isinstance(action, (Finish, Answer, Fail))
            if isinstance(action, Answer):
                assert self.committed_model is None, "another reply where bytes were delivered"
                assert action.attempt.fault is not None
                assert TABLE[action.attempt.fault].to_client
            if isinstance(action, Fail):
                assert all(a.endpoint.id in action.message for a in self.machine.log)
                assert 429 <= action.status <= 504
            self.drop_beaten()
            assert not self.live
            self.over, self.waiting = action, False

    def drop_beaten(self) -> None:
        """What lost to another is dropped, and counts against nobody."""
        for attempt in self.live:
            if attempt.beaten:
                assert attempt.fault is None
                assert attempt.outcome is Outcome.NOBODYS
                assert attempt.ended_us == self.now_us
        self.live = [attempt for attempt in self.live if not attempt.beaten]

    def hold_hedge(self, attempt: Attempt) -> None:
        [first] = self.live
        assert self.committed_model is None, "a hedge of an answer that has begun"
        assert attempt.hedge
        assert not attempt.resuming
        assert attempt.started_us == self.now_us < self.deadline_us
        assert first.first_content_us is None
        assert self.hedge_us is not None
        assert self.now_us - first.started_us >= self.hedge_us, "sooner than its time"
        assert attempt.model == attempt.endpoint.model == first.model
        assert [a for a in self.machine.log if a.endpoint.id == attempt.endpoint.id] == [attempt], "tried before"
        assert sum(a.hedge for a in self.machine.log) == 1, "hedged twice"
        assert self.hedges.taken == 1 <= self.paid, "nothing paid for it"

    def hold_try(self, action: Try) -> None:
        attempt = action.attempt
        endpoint_id = attempt.endpoint.id
        start_us = self.now_us + action.pause_us
        assert attempt.started_us == start_us < self.deadline_us, "started past the deadline"
        assert attempt.model == attempt.endpoint.model
        assert attempt.resuming is (self.committed_model is not None)
        if self.committed_model is not None:
            assert attempt.model == self.committed_model, "another model amid an answer"
            assert not self.sealed, "nothing continues what is sealed"
        before = [a for a in self.machine.log[:-1] if a.endpoint.id == endpoint_id]
        for previous in before:
            assert previous.fault is not None
        if not before:
            assert not action.pause_us
        elif before[-1].fault is Fault.RATE_LIMITED:
            # Once its wait is over, or it was cooled by others meanwhile and its wait is over.
            assert self.waiting, "a rate limit that was not waited for"
            assert self.pool.cooling[endpoint_id] <= self.now_us
        else:
            fault = before[-1].fault
            assert fault is not None
            assert TABLE[fault].retry_last, f"tried again after {fault}"
            ended = [a.ended_us for a in self.machine.log[:-1]]
            assert before[-1].ended_us == self.now_us == max(e for e in ended if e is not None), "not the last to fail"
            assert action.pause_us > 0, "hammered"
            self.retries[attempt.model] += 1
            assert self.retries[attempt.model] == 1, "retried twice"

    # ---- what may happen -----------------------------------------------------------------------------------------

    def is_live(self) -> bool:
        return bool(self.live)

    def pick(self, second: bool) -> Attempt:
        """One of the live ones."""
        return self.live[-1 if second else 0]

    @precondition(is_live)
    @rule(second=st.booleans())
    def connect(self, second: bool) -> None:
        self.machine.connected(self.now_us, self.pick(second))

    @precondition(is_live)
    @rule(second=st.booleans())
    def first_byte(self, second: bool) -> None:
        self.machine.first_byte(self.now_us, self.pick(second))

    @precondition(is_live)
    @rule(second=st.booleans(), seals=st.booleans())
    def content(self, second: bool, seals: bool) -> None:
        winner = self.pick(second)
        action = self.machine.first_content(self.now_us, winner)
        self.drop_beaten()
        assert self.live == [winner]
        assert isinstance(action, Relay)
        self.act(action)
        assert self.machine.committed
        if seals:
            self.sealed = self.machine.sealed = True

    @precondition(is_live)
    @rule(second=st.booleans())
    def progress(self, second: bool) -> None:
        self.machine.progress(self.now_us, self.pick(second))

    @precondition(is_live)
    @rule(second=st.booleans())
    def end(self, second: bool) -> None:
        whole = self.pick(second)
        action = self.machine.end(self.now_us, whole)
        assert isinstance(action, Finish)
        self.live.remove(whole)
        assert whole.outcome is Outcome.SUCCESS
        self.act(action)

    @precondition(is_live)
    @rule(
        second=st.booleans(),
        fault=st.sampled_from(SEEN_ON_THE_WIRE),
        names_it=st.booleans(),
        cools=st.booleans(),
        cool_us=STEPS_US,
    )
    def fail(self, second: bool, fault: Fault, names_it: bool, cools: bool, cool_us: int) -> None:
        failed = self.pick(second)
        self.live.remove(failed)
        until_us = None
        if fault is Fault.RATE_LIMITED and cools:
            until_us = self.now_us + cool_us
            self.cool(failed.endpoint.id, until_us)
        features = frozenset({"tools"}) if names_it else frozenset()
        action = self.machine.failed(self.now_us, failed, fault, cool_until_us=until_us, features=features)
        if self.live:
            assert action is None or isinstance(action, Answer), "one failed and the other goes on"
        else:
            assert action is not None, "a failure leads somewhere"
        self.act(action)

    @rule(fault=st.sampled_from(SEEN_ON_THE_WIRE), which=st.integers(0, 9))
    def news_of_what_is_over(self, fault: Fault, which: int) -> None:
        over = [attempt for attempt in self.machine.log if attempt not in self.live]
        if which < len(over):
            before = copy(over[which])
            self.machine.connected(self.now_us, over[which])
            self.machine.first_byte(self.now_us, over[which])
            self.machine.progress(self.now_us, over[which])
            assert self.machine.first_content(self.now_us, over[which]) is None
            assert self.machine.end(self.now_us, over[which]) is None
            assert self.machine.failed(self.now_us, over[which], fault) is None
            assert over[which] == before

    @rule(us=STEPS_US)
    def time_passes(self, us: int) -> None:
        self.now_us += us
        self.read_clock()

    @precondition(lambda self: self.over is None and not self.gone)
    @rule()
    def clock_runs_out(self) -> None:
        self.now_us = max(self.now_us, self.machine.due_us)
        self.read_clock()

    @rule(which=st.integers(0, 11), us=STEPS_US)
    def others_make_one_cool(self, which: int, us: int) -> None:
        if which < len(self.listed):
            self.cool(self.listed[which], self.now_us + us)

    @rule(which=st.integers(0, 11))
    def one_recovers(self, which: int) -> None:
        if which < len(self.listed):
            self.pool.out.discard(self.listed[which])

    @precondition(is_live)
    @rule(chance=st.integers(0, 4))
    def client_leaves(self, chance: int) -> None:
        if chance:  # seldom: there is nothing to see after it
            return
        self.machine.client_gone(self.now_us)
        self.gone, self.live, self.waiting = True, [], False

    def cool(self, endpoint_id: str, until_us: int) -> None:
        self.pool.cooling[endpoint_id] = max(until_us, self.pool.cooling.get(endpoint_id, 0))

    def read_clock(self) -> None:
        action = self.machine.clock(self.now_us, self)
        if action is not None and self.live and not isinstance(action, Hedge):
            assert any(attempt.fault is not None for attempt in self.live), "a clock that ran out ends its attempt"
        self.live = [attempt for attempt in self.live if attempt.fault is None]
        self.act(action)

    # ---- what always holds ---------------------------------------------------------------------------------------

    @invariant()
    def at_most_two_are_live_and_the_machine_knows_which(self) -> None:
        known = [a for a in (self.machine.attempt, self.machine.rival) if a is not None]
        assert known == self.live
        assert len(self.live) <= (1 if self.machine.committed else 2)
        assert self.machine.rival is None or self.machine.rival.hedge
        unfinished = [a for a in self.machine.log if a.ended_us is None]
        assert unfinished == self.live or self.gone

    @invariant()
    def what_was_paid_for_is_what_was_hedged(self) -> None:
        assert self.hedges.taken == sum(a.hedge for a in self.machine.log) <= min(1, self.paid)

    @invariant()
    def what_is_committed_stays_committed(self) -> None:
        assert self.machine.committed is (self.committed_model is not None)
        delivered = [a for a in self.machine.log if a.first_content_us is not None and a.resuming]
        assert not delivered or self.machine.committed

    @invariant()
    def it_is_trying_waiting_or_over(self) -> None:
        is_over = self.over is not None or self.gone
        assert is_over is (self.machine.state is State.DONE)
        assert is_over or self.waiting or self.live

    @invariant()
    def it_asks_to_be_woken_before_its_deadline(self) -> None:
        assert self.machine.state is State.DONE or self.machine.due_us <= self.deadline_us

    def teardown(self) -> None:
        if not hasattr(self, "machine"):
            return
        # Left alone, every request ends by its deadline.
        self.now_us = max(self.now_us, self.deadline_us)
        self.read_clock()
        assert self.machine.state is State.DONE
        assert self.machine.attempt is None
        assert self.machine.rival is None
        assert (self.over is not None) is not self.gone


TestAttempts = AttemptsMachine.TestCase
