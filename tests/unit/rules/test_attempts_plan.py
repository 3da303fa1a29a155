"""The machine on the plan it is made for: what either promises the other."""

from __future__ import annotations

from providerrank.rules.attempt import Fault, Try
from providerrank.rules.attempts import Action, Attempts, Candidates, Fail
from providerrank.rules.catalog import ModelRules
from tests.playbook import TIMING, S
from tests.unit.rules.market import Market, endpoint


def test_an_answer_begun_as_a_last_resort_is_continued_by_no_other_model() -> None:
    """A fallback model's endpoint comes back while the last resort of the first model answers."""
    market = Market(endpoint("a"), endpoint("c", 1.9, model="n"), models=(ModelRules("m", fallback_models=("n",)),))
    market.see("a", times=50)
    market.see("c/n", times=50)
    market.fail("c/n", times=8)
    market.fail("a", times=4)
    plan: Candidates = market.plan()
    machine = Attempts(plan, TIMING, lambda: 0.0)
    action: Action | None = machine.begin(market.now)
    while isinstance(action, Try) and action.attempt.model != "m":
        action = machine.failed(market.now, action.attempt, Fault.UNAVAILABLE)
    assert isinstance(action, Try), "the last resort is of the first model"
    machine.connected(market.now, action.attempt)
    machine.first_content(market.now, action.attempt)
    market.wait(250)
    assert isinstance(machine.failed(market.now, action.attempt, Fault.MALFORMED), Fail)


def test_a_last_resort_leaves_the_plan_on_its_model() -> None:
    market = Market(endpoint("a"), endpoint("c", 1.9, model="n"), models=(ModelRules("m", fallback_models=("n",)),))
    market.see("a", times=50)
    market.see("c/n", times=50)
    market.fail("c/n", times=8)
    market.fail("a", times=4)
    plan = market.plan()
    assert plan.next(market.now) is None
    assert plan.advance(market.now)
    assert plan.next(market.now) is None
    resort = plan.last_resort(market.now)
    assert resort is not None
    assert (resort.model, plan.model) == ("m", "m")
    market.wait(600)
    assert plan.next(market.now) is None
    assert not plan.more_here(market.now)


def test_an_endpoint_that_was_waited_for_counts_as_tried() -> None:
    """Otherwise it would be offered again after failing in a way that is never retried."""
    market = Market(endpoint("a"))
    market.router.cool("a/m", market.now + S)
    plan = market.plan()
    assert plan.next(market.now) is None
    waited_for = plan.earliest_cooled_us(market.now)
    assert waited_for is not None
    plan.mark(waited_for[0])
    plan.mark(waited_for[0])
    assert plan.next(market.now + 2 * S) is None
    assert plan.earliest_cooled_us(market.now, avoid={"a/m"}) is None
