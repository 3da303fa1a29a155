"""Whatever happens to a request's attempts, in any order: the invariants of the fallback machine."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from providerrank.rules.attempts import (
    TABLE,
    Action,
    Answer,
    Attempt,
    Attempts,
    Fail,
    Fault,
    Finish,
    Relay,
    State,
    Timing,
    Try,
    Wait,
)
from providerrank.rules.cells import Endpoint
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
        self.live: Attempt | None = None
        """What the driver has on the wire, or is about to, by the actions it was given."""
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
    )
    def begin(
        self,
        pools: list[list[tuple[frozenset[str], int | None]]],
        out: set[int],
        total_us: int,
        patience_us: int,
        jitter: float,
        silence_us: int,
    ) -> None:
        models = [
            (f"m{i}", [endpoint(f"e{j}", f"m{i}", features=f, context_window=w) for j, (f, w) in enumerate(pool)])
            for i, pool in enumerate(pools)
        ]
        listed = [e.id for _, endpoints in models for e in endpoints]
        self.pool = Pool(models, out={listed[i] for i in out if i < len(listed)})
        self.listed = listed
        self.silence_us = silence_us
        self.deadline_us = self.now_us + total_us
        self.machine = Attempts(self.pool, Timing(200 * MS, 2 * S, total_us, patience_us), lambda: jitter)
        self.act(self.machine.begin(self.now_us))

    def get_silence_us(self, candidate: Endpoint, budget_us: int) -> int:
        assert self.live is not None
        assert candidate is self.live.endpoint
        assert budget_us > 0
        return self.silence_us

    # ---- doing what the machine says, and holding it to its word -------------------------------------------------

    def act(self, action: Action | None) -> None:
        if action is None:
            return
        assert self.over is None, "an action after the end"
        assert not self.gone, "an action for a client that left"
        if isinstance(action, Try):
            self.hold_try(action)
            self.live = action.attempt
            self.waiting = False
        elif isinstance(action, Wait):
            assert not self.sealed or not self.machine.committed
            assert self.now_us <= action.until_us <= self.deadline_us
            self.live, self.waiting = None, True
        elif isinstance(action, Relay):
            assert self.live is not None
            self.committed_model = self.live.model
        else:
            assert isinstance(action, (Finish, Answer, Fail))
            if isinstance(action, Answer):
                assert self.committed_model is None, "another reply where bytes were delivered"
                assert action.attempt.fault is not None
                assert TABLE[action.attempt.fault].to_client
            if isinstance(action, Fail):
                assert all(a.endpoint.id in action.message for a in self.machine.log)
                assert 429 <= action.status <= 504
            self.over, self.live, self.waiting = action, None, False

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
            assert self.machine.log[-2] is before[-1], "retried though it was not the last"
            assert action.pause_us > 0, "hammered"
            self.retries[attempt.model] += 1
            assert self.retries[attempt.model] == 1, "retried twice"

    # ---- what may happen -----------------------------------------------------------------------------------------

    def is_live(self) -> bool:
        return self.live is not None

    @precondition(is_live)
    @rule()
    def connect(self) -> None:
        self.machine.connected(self.now_us)

    @precondition(is_live)
    @rule()
    def first_byte(self) -> None:
        self.machine.first_byte(self.now_us)

    @precondition(is_live)
    @rule(seals=st.booleans())
    def content(self, seals: bool) -> None:
        self.act(self.machine.first_content(self.now_us))
        assert self.machine.committed
        if seals:
            self.sealed = self.machine.sealed = True

    @precondition(is_live)
    @rule()
    def progress(self) -> None:
        self.machine.progress(self.now_us)

    @precondition(is_live)
    @rule()
    def end(self) -> None:
        action = self.machine.end(self.now_us)
        assert isinstance(action, Finish)
        self.act(action)

    @precondition(is_live)
    @rule(fault=st.sampled_from(SEEN_ON_THE_WIRE), names_it=st.booleans(), cools=st.booleans(), cool_us=STEPS_US)
    def fail(self, fault: Fault, names_it: bool, cools: bool, cool_us: int) -> None:
        live, self.live = self.live, None
        assert live is not None
        until_us = None
        if fault is Fault.RATE_LIMITED and cools:
            until_us = self.now_us + cool_us
            self.cool(live.endpoint.id, until_us)
        features = frozenset({"tools"}) if names_it else frozenset()
        action = self.machine.failed(self.now_us, fault, cool_until_us=until_us, features=features)
        assert action is not None, "a failure leads somewhere"
        self.act(action)

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
        self.gone, self.live, self.waiting = True, None, False

    def cool(self, endpoint_id: str, until_us: int) -> None:
        self.pool.cooling[endpoint_id] = max(until_us, self.pool.cooling.get(endpoint_id, 0))

    def read_clock(self) -> None:
        live = self.live
        action = self.machine.clock(self.now_us, self.get_silence_us)
        if action is not None and live is not None:
            assert live.fault is not None, "a clock that ran out ends its attempt"
            self.live = None
        self.act(action)

    # ---- what always holds ---------------------------------------------------------------------------------------

    @invariant()
    def at_most_one_is_live_and_the_machine_knows_which(self) -> None:
        assert self.machine.attempt is self.live
        unfinished = [a for a in self.machine.log if a.ended_us is None]
        assert unfinished == [a for a in (self.live,) if a is not None] or self.gone

    @invariant()
    def what_is_committed_stays_committed(self) -> None:
        assert self.machine.committed is (self.committed_model is not None)
        delivered = [a for a in self.machine.log if a.first_content_us is not None and a.resuming]
        assert not delivered or self.machine.committed

    @invariant()
    def it_is_trying_waiting_or_over(self) -> None:
        is_over = self.over is not None or self.gone
        assert is_over is (self.machine.state is State.DONE)
        assert is_over or self.waiting or self.live is not None

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
        assert (self.over is not None) is not self.gone


TestAttempts = AttemptsMachine.TestCase
