"""Which fault a request meets: script, switch, behaviour, chances, in this order. No sockets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from providerrank.sim.behaviour import State
from providerrank.sim.endpoint import SimEndpoint
from providerrank.sim.faults import CONNECTION_FAULTS, LISTENER_FAULTS, Fault, Play
from providerrank.sim.received import KEPT_REQUESTS, Received
from providerrank.sim.spec import EndpointSpec, Event, ListPrice, Ttft

ASK = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def endpoint(clock: Clock | None = None, **fields: object) -> SimEndpoint:
    return SimEndpoint(EndpointSpec(name="e", **fields), clock or Clock())  # type: ignore[arg-type]  # each test gives a field its type


def meet(sim: SimEndpoint, body: bytes = ASK, path: str = "/v1/chat/completions") -> tuple[Fault | None, bytes]:
    received = Received(0, 1, 1, sim.now_s(), "POST", path, [], body, len(body))
    performance = sim.on_request(received)
    sim.on_played(received, left=False)
    return received.fault, b"".join(data for _, data in performance.writes)


async def test_a_script_is_played_in_order_and_then_is_over() -> None:
    sim = endpoint()
    sim.script([Fault.STATUS_500, None, Play(Fault.RATE_LIMIT, seconds=7)])
    replies = [meet(sim) for _ in range(4)]
    assert [fault for fault, _ in replies] == [Fault.STATUS_500, None, Fault.RATE_LIMIT, None]
    assert [data[9:12] for _, data in replies] == [b"500", b"200", b"429", b"200"]
    assert b"retry-after: 7\r\n" in replies[2][1]
    assert sim.log.faults == {Fault.STATUS_500: 1, Fault.RATE_LIMIT: 1}


async def test_the_script_comes_before_the_switch_and_the_switch_before_the_behaviour() -> None:
    sim = endpoint(success=0.0, fault_on_failure=Fault.STATUS_502)
    await sim.switch(Fault.STATUS_503)
    sim.script([Fault.STATUS_500])
    assert [meet(sim)[0] for _ in range(2)] == [Fault.STATUS_500, Fault.STATUS_503]
    await sim.switch(None)
    assert meet(sim)[0] is Fault.STATUS_502


@pytest.mark.parametrize("fault", sorted(LISTENER_FAULTS))
def test_a_listener_s_fault_cannot_be_scripted(fault: Fault) -> None:
    with pytest.raises(ValueError, match=r"use switch\(\)"):
        endpoint().script([fault])


async def test_a_switched_rate_limit_says_how_much_of_it_is_left() -> None:
    sim = endpoint()
    await sim.switch(Fault.RATE_LIMIT, for_s=40)
    assert b"retry-after: 40\r\n" in meet(sim)[1]


def test_chances_come_out_as_often_as_they_say() -> None:
    sim = endpoint(faults={Fault.STATUS_500: 0.3, Fault.CUT_ABORT: 0.2})
    for _ in range(4000):
        meet(sim)
    # Four standard deviations of a binomial: 4 * sqrt(4000 * 0.3 * 0.7) = 116.
    assert abs(sim.log.faults[Fault.STATUS_500] - 1200) < 116
    assert abs(sim.log.faults[Fault.CUT_ABORT] - 800) < 102
    assert set(sim.log.faults) == {Fault.STATUS_500, Fault.CUT_ABORT}


def test_chance_is_the_same_every_time() -> None:
    def faults() -> list[Fault | None]:
        sim = endpoint(faults={Fault.STATUS_500: 0.5})
        return [meet(sim)[0] for _ in range(50)]

    assert faults() == faults()
    assert len(set(faults())) == 2


@pytest.mark.parametrize("chances", [{Fault.STATUS_500: 0.6, Fault.STATUS_503: 0.5}, {Fault.STATUS_500: -0.1}])
def test_impossible_chances_are_refused(chances: dict[Fault, float]) -> None:
    with pytest.raises(ValueError, match="at most 1"):
        endpoint().set_chances(chances)


class DownFromTen:
    def at(self, t_s: float) -> State:
        return State(success=1.0 if t_s < 10 else 0.0, fault_on_failure=Fault.STATUS_504)


def test_a_behaviour_is_asked_for_the_moment_of_the_request() -> None:
    clock = Clock()
    sim = SimEndpoint(EndpointSpec(name="e"), clock, DownFromTen())
    assert meet(sim)[0] is None
    clock.now_s = 10.0
    assert meet(sim)[0] is Fault.STATUS_504


@pytest.mark.parametrize("fault", sorted(LISTENER_FAULTS | CONNECTION_FAULTS))
def test_a_fault_of_listener_or_connection_met_by_chance_is_silence(fault: Fault) -> None:
    met, data = meet(endpoint(success=0.0, fault_on_failure=fault))
    assert (met, data) == (fault, b"")


async def test_events_change_and_up_restores() -> None:
    sim = endpoint(ttft=Ttft(median=0.5), price=ListPrice(input=1.0))
    asked = Received(0, 1, 1, 0.0, "POST", "/v1/chat/completions", [], ASK, len(ASK))
    await sim.apply(Event(at=0, do="set", ttft=Ttft(median=2.0), price=ListPrice(input=3.0)))
    assert sim.on_request(asked).writes[0][0] == 2.0
    assert sim.price.input == 3.0
    await sim.apply(Event(at=0, do="set", success=0.0))
    assert meet(sim)[0] is Fault.STATUS_503
    await sim.apply(Event(at=0, do="status_502"))
    assert meet(sim)[0] is Fault.STATUS_502
    await sim.apply(Event(at=0, do="up"))
    assert meet(sim)[0] is None
    assert sim.on_request(asked).writes[0][0] == 0.5
    assert sim.price.input == 1.0


def test_an_endpoint_refuses_what_is_wrong_of_its_own_accord() -> None:
    assert meet(endpoint(key="secret"))[1].startswith(b"HTTP/1.1 401")
    assert meet(endpoint(model="other"))[1].startswith(b"HTTP/1.1 404")
    refused = meet(endpoint(lacks=("seed",)), ASK[:-1] + b',"seed":1}')[1]
    assert refused.startswith(b"HTTP/1.1 400")
    assert b'"param":"seed","code":"unsupported_parameter"' in refused
    assert meet(endpoint(), b"{")[1].startswith(b"HTTP/1.1 400")
    assert meet(endpoint(), path="/v1/nothing")[1].startswith(b"HTTP/1.1 404")


def test_a_broken_endpoint_fails_broken_requests_too() -> None:
    sim = endpoint()
    sim.script([Fault.STATUS_500])
    assert meet(sim, b"{")[1].startswith(b"HTTP/1.1 500")


def test_the_log_forgets_the_oldest_and_counts_on() -> None:
    sim = endpoint()
    for _ in range(KEPT_REQUESTS + 5):
        meet(sim)
    assert (len(sim.log), sim.log.requests, sim.log.answered) == (KEPT_REQUESTS, KEPT_REQUESTS + 5, KEPT_REQUESTS + 5)
    assert next(iter(sim.log)).number == 6


def test_tls_needs_a_certificate() -> None:
    with pytest.raises(ValueError, match="no certificate"):
        endpoint(tls=True)
