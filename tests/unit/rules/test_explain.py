from __future__ import annotations

import msgspec
import pytest

from providerrank.rules.ask import Ask, EmptyPool, Preferences
from providerrank.rules.attempt import Fault
from providerrank.rules.catalog import ModelRules, Tier
from providerrank.rules.explain import explain, get_sight, make_brief
from providerrank.rules.explain_words import tell_ordinal, tell_seconds
from providerrank.rules.explanation import Explanation
from providerrank.rules.finished import MAX_ATTEMPTS, MAX_TEXT, Finished, get_cut_ask
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.sight import AGAIN_US, Looks
from tests.unit.rules.market import Market, T, endpoint
from tests.unit.rules.telling import Told, find

FIRST = ModelRules("m", pin=("a/m",))


def looking(*names: str, **more: object) -> Market:
    """Endpoints each dearer than the one before, so that they rank as they are named."""
    endpoints = [endpoint(name, 0.2 + 0.4 * at) for at, name in enumerate(names)]
    return Market(*endpoints, looks=Looks(1000, PARAMS), **more)  # type: ignore[arg-type]  # fields by name


# ---- a request that just works ---------------------------------------------------------------------------------------


def test_an_answer_at_the_first_attempt() -> None:
    told = Told(looking("a", "b")).answers(ms=300)
    explanation = told.explain()
    assert explanation.summary == "Answered by a/m at the first attempt, 300 ms in all."
    assert (explanation.request_id, explanation.api, explanation.model, explanation.task) == (
        "req-1",
        "chat",
        "m",
        "chat",
    )
    assert (explanation.status, explanation.endpoint) == (200, "a/m")
    assert (explanation.at_s, explanation.total_s, explanation.ttft_s) == (T / 1e6, 0.3, 0.3)
    assert (explanation.input_tokens, explanation.output_tokens, explanation.cost_usd) == (100, 20, 0.000123)
    [attempt] = explanation.attempts
    assert (attempt.endpoint, attempt.why, attempt.outcome, attempt.continues) == ("a/m", "best", "answered", False)
    assert (attempt.started_s, attempt.first_content_s, attempt.ended_s) == (0.0, 0.3, 0.3)
    assert attempt.words.startswith("the best score of those that could be tried (score 0.")
    assert attempt.words.endswith("; answered after 300 ms, first content after 300 ms")
    [part] = explanation.models
    assert (part.model, part.fallback, part.words, part.left_out) == ("m", False, "the model asked for, 1 attempt", 0)
    assert [(one.endpoint, one.rank, one.verdict) for one in part.candidates] == [
        ("a/m", 1, "answered"),
        ("b/m", 2, "behind"),
    ]
    assert find(explanation, "b").words.startswith("lower score than a/m (0.")


def test_an_explanation_is_json_both_ways() -> None:
    explanation = Told(looking("a", "b")).fails().answers().explain()
    assert msgspec.json.decode(msgspec.json.encode(explanation), type=Explanation) == explanation


def test_scores_are_those_of_the_sight() -> None:
    market = looking("a", "b")
    market.see("a", times=30, ms=450)
    told = Told(market).answers()
    [row, _] = told.plan.sights[0].get_rows()
    scores = find(told.explain(), "a").scores
    assert scores is not None
    assert (scores.effective, scores.composite, scores.reputation) == (row.effective, row.composite, row.reputation)
    assert (scores.latency, scores.reliability, scores.uptime) == (row.latency, row.reliability, row.uptime)
    assert (scores.price, scores.outage_belief, scores.honesty) == (row.price_score, row.belief, 1.0)
    assert (scores.ttft_s, scores.success) == (row.ttft_us / 1e6, row.success)
    assert (scores.cost_usd, scores.requests) == (row.cost_nusd / 1e9, row.evidence)
    assert (scores.in_flight, scores.concurrency_limit) == (0, PARAMS.concurrency_limit)
    assert scores.at_s == 0.0


def test_equals_are_peers_and_load_decides() -> None:
    market = Market(endpoint("a"), endpoint("b"), endpoint("c", 1.9), looks=Looks(100, PARAMS))
    told = Told(market).answers()
    explanation = told.explain()
    other = "b" if explanation.endpoint == "a/m" else "a"
    assert explanation.attempts[0].why == "class"
    assert explanation.attempts[0].words.startswith("one of 2 within 0.02 of the best, where load decides (score ")
    assert find(explanation, other).verdict == "peer"
    assert "as good as" in find(explanation, other).words
    assert find(explanation, "c").verdict == "behind"


def test_the_class_is_named_even_where_its_figures_are_gone() -> None:
    looks = Looks(3, PARAMS)
    market = Market(endpoint("a"), endpoint("b"), looks=looks)
    told = Told(market).answers()
    market.wait(2)
    market.plan()
    market.wait(2)
    market.plan()
    explanation = told.explain()
    assert explanation.attempts[0].words.startswith("one of the best, where load decides; answered")
    [part] = explanation.models
    assert part.words == "the model asked for, 1 attempt; the figures of that moment are no longer kept"
    [candidate] = part.candidates
    assert (candidate.verdict, candidate.scores, candidate.rank) == ("answered", None, None)
    assert part.left_out == 1


# ---- failures --------------------------------------------------------------------------------------------------------


def test_a_fallback_tells_both_attempts() -> None:
    told = Told(looking("a", "b", "c")).fails(ms=210, note="overloaded").answers(ms=300)
    explanation = told.explain()
    assert explanation.summary == (
        "Answered by b/m at the second attempt, 510 ms in all. "
        "Before that, a/m failed: server error (HTTP 500, overloaded)."
    )
    first, second = explanation.attempts
    assert (first.outcome, first.status, first.started_s, first.ended_s) == ("server_error", 500, 0.0, 0.21)
    assert first.words.endswith("; failed: server error (HTTP 500, overloaded) after 210 ms")
    assert (second.outcome, second.started_s, second.first_content_s) == ("answered", 0.21, 0.51)
    assert find(explanation, "a").verdict == "failed"
    assert find(explanation, "a").words == "failed: server error (HTTP 500, overloaded) after 210 ms"
    assert find(explanation, "b").verdict == "answered"
    assert find(explanation, "c").verdict == "behind"
    assert explanation.models[0].words == "the model asked for, 2 attempts"


def test_each_candidate_is_shown_as_it_was_when_it_was_last_considered() -> None:
    told = Told(looking("a", "b", "c")).fails(ms=400).answers()
    explanation = told.explain()
    scores = [find(explanation, name).scores for name in "abc"]
    assert [one.at_s for one in scores if one is not None] == [0.0, 0.4, 0.4]
    assert scores[0] is not None
    assert scores[0].outage_belief == PARAMS.belief_floor


def test_every_attempt_failed() -> None:
    told = (
        Told(looking("a", "b")).fails(status=None, fault=Fault.UNREACHABLE).fails(status=None, fault=Fault.UNREACHABLE)
    )
    explanation = told.explain()
    assert explanation.endpoint is None
    assert explanation.status == 502
    assert explanation.summary == (
        "The client was told 502 after 2 attempts in 200 ms: "
        "a/m failed: could not connect; b/m failed: could not connect."
    )


def test_a_stream_that_was_broken_off() -> None:
    told = Told(looking("a"), stream=True).begins()
    told.machine.sealed = True
    told.fails(fault=Fault.CUT, status=None)
    told.broken_off = True
    explanation = told.explain()
    assert explanation.stream
    assert explanation.ttft_s == 0.1
    assert explanation.summary.startswith(
        "The stream was broken off with an error event after 1 attempt in 200 ms: a/m failed"
    )


def test_a_stream_that_was_continued() -> None:
    told = Told(looking("a", "b"), stream=True).begins().fails(fault=Fault.CUT, status=None).answers(ms=200)
    explanation = told.explain()
    assert [attempt.continues for attempt in explanation.attempts] == [False, True]
    assert explanation.ttft_s == 0.1
    assert explanation.total_s == 0.4


def test_a_second_attempt_that_was_quicker() -> None:
    told = Told(looking("a", "b"), stream=True).is_slow(ms=500).is_overtaken(ms=100).answers(ms=200)
    explanation = told.explain()
    assert explanation.summary == "Answered by b/m at the second attempt, 800 ms in all."
    assert [(one.endpoint, one.why, one.outcome) for one in explanation.attempts] == [
        ("a/m", "best", "abandoned"),
        ("b/m", "hedge", "answered"),
    ]
    slow, quick = explanation.attempts
    assert slow.words.endswith("; dropped after 600 ms, since the other one was quicker; not held against it")
    assert quick.words.startswith("asked beside the other, which was slower than it usually is (score 0.")
    assert quick.words.endswith("; answered after 300 ms, first content after 100 ms")
    assert find(explanation, "a").verdict == "abandoned"
    assert explanation.ttft_s == 0.6


def test_a_second_attempt_that_was_in_vain() -> None:
    told = Told(looking("a", "b"), stream=True).is_slow(ms=500).begins(ms=100).answers(ms=200)
    explanation = told.explain()
    assert explanation.summary == "Answered by a/m at the first attempt, 800 ms in all."
    assert explanation.attempts[1].words.endswith(
        "; dropped after 100 ms, since the other one was quicker; not held against it"
    )


def test_a_client_that_left() -> None:
    explanation = Told(looking("a", "b")).fails().leaves(ms=50).explain()
    assert explanation.status == 499
    assert explanation.ttft_s is None
    assert explanation.summary == (
        "The client went away after 150 ms, before its answer was whole. "
        "Before that, a/m failed: server error (HTTP 500)."
    )
    assert explanation.attempts[1].outcome == "abandoned"
    assert explanation.attempts[1].words.endswith("; dropped after 50 ms, which says nothing of it")
    assert find(explanation, "b").verdict == "abandoned"


def test_an_attempt_that_never_ended_has_no_end() -> None:
    told = Told(looking("a"))
    told.status = 500
    finished = told.finished()
    assert finished.answered is None
    explanation = explain(finished)
    assert explanation.attempts[0].ended_s is None
    assert explanation.attempts[0].words.endswith("; dropped, which says nothing of it")
    assert explanation.summary == "The client was told 500 after 1 attempt in 0 ms: none ended."


def test_a_retry_and_a_wait_say_what_they_are() -> None:
    retried = Told(looking("a")).fails().answers().explain()
    assert [attempt.why for attempt in retried.attempts] == ["best", "retry"]
    assert retried.attempts[1].words.startswith("the same endpoint once more")
    assert retried.attempts[1].started_s == 0.15
    waited = Told(looking("a")).fails(Fault.RATE_LIMITED, status=429, cool_ms=500).waits().answers().explain()
    assert [attempt.why for attempt in waited.attempts] == ["best", "waited"]
    assert waited.attempts[1].words.startswith("asked again once its rate limit was over; answered")


def test_a_log_too_long_to_keep_loses_its_middle() -> None:
    told = Told(Market(*(endpoint(f"e{at}") for at in range(40)), looks=Looks(10_000, PARAMS)))
    for _ in range(40):
        told.fails(status=None, fault=Fault.UNREACHABLE, ms=1)
    explanation = told.explain()
    assert len(explanation.attempts) == MAX_ATTEMPTS
    assert explanation.attempts_left_out == 8
    assert "after 40 attempts" in explanation.summary
    assert make_brief(told.finished()).attempts == 40


# ---- why the others were not asked -----------------------------------------------------------------------------------


def test_the_cooling_and_the_out_are_passed_over() -> None:
    market = looking("a", "b", "c", "d")
    market.see("b", times=10)
    market.fail("b", times=3)
    market.see("c", Outcome.REFUSED_US)
    market.router.cool("a/m", market.now + 2_500_000)
    explanation = Told(market).answers().explain()
    assert explanation.endpoint == "d/m"
    assert (find(explanation, "a").verdict, find(explanation, "a").words) == (
        "cooling",
        "rate-limited for another 2.5 s",
    )
    assert find(explanation, "b").verdict == "out"
    assert find(explanation, "b").words.startswith("believed out with a probability of ")
    assert find(explanation, "c").verdict == "out"
    assert find(explanation, "c").words == "refused our key, balance or model name, and is not asked for another 30 s"


def test_a_last_resort() -> None:
    market = looking("a")
    market.fail("a", times=4)
    explanation = Told(market).answers().explain()
    assert explanation.attempts[0].why == "last_resort"
    assert explanation.attempts[0].words.startswith("believed out, but nobody else was left (score ")


def test_a_suspect_that_is_due_for_a_try() -> None:
    market = looking("a", "b")
    market.see("a", times=30, ms=200)
    market.fail("a", times=2)
    market.wait(25)
    explanation = Told(market).answers().explain()
    assert explanation.endpoint == "a/m"
    assert explanation.attempts[0].words.startswith("due for a try after failing lately (score ")


def test_pins_orders_and_sorts_come_first() -> None:
    market = looking("a", "b", "c", models=(ModelRules("m", pin=("b/m",)),))
    pinned = Told(market).answers().explain()
    assert (pinned.endpoint, pinned.attempts[0].why) == ("b/m", "pin")
    assert pinned.attempts[0].words.startswith("pinned by the operator (score ")
    assert find(pinned, "a").words.startswith("passed over for b/m, which is pinned (score 0.")
    assert find(pinned, "c").words.startswith("lower score than b/m")
    ordered = Told(market, preferences=Preferences(order=("c",))).answers().explain()
    assert (ordered.endpoint, ordered.attempts[0].why) == ("c/m", "order")
    assert "which the request names first" in find(ordered, "a").words
    market.see("c", times=50, ms=100)
    market.see("a", times=50, ms=900)
    by = Told(market, preferences=Preferences(sort="latency")).answers().explain()
    assert (by.endpoint, by.attempts[0].why) == ("c/m", "sort")
    assert by.attempts[0].words.startswith("first by the request's own sort")


def test_a_sample_says_that_it_is_one() -> None:
    market = looking("a", "b", exploration=1.0)
    market.see("a", times=50)
    explanation = Told(market).answers().explain()
    assert explanation.attempts[0].why == "sample"
    assert explanation.attempts[0].words.startswith("tried to learn more about it, by its chance of being the best")


def test_a_session_stays_where_it_is() -> None:
    market = Market(endpoint("a"), endpoint("b", 1.01), looks=Looks(100, PARAMS))
    market.see("a", times=20, ms=300)
    market.see("b", times=20, ms=300)
    market.see("b", session="s", ms=300)
    explanation = Told(market, session="s").answers().explain()
    assert (explanation.endpoint, explanation.session) == ("b/m", "s")
    assert explanation.attempts[0].why == "session"
    assert find(explanation, "a").verdict == "behind"
    assert "where the session is" in find(explanation, "a").words


def test_filters_say_what_they_ask() -> None:
    market = Market(
        endpoint("good"),
        endpoint("small", context=8_000),
        endpoint("plain", features=frozenset()),
        endpoint("dear", 9.0),
        endpoint("pricey", 1.9),
        endpoint("shunned"),
        looks=Looks(100, PARAMS),
    )
    from providerrank.rules.cells import Price

    told = Told(
        market,
        features=frozenset({"tools", "vision"}),
        input_tokens=9_000,
        output_tokens=500,
        preferences=Preferences(ignore=("shunned",), max_price=Price.from_usd(1.5, 0)),
    ).answers()
    explanation = told.explain()
    words = {one.endpoint.partition("/")[0]: one.words for one in explanation.models[0].candidates}
    assert words["small"] == "excluded: it takes 8,000 tokens and the request needs 9,500"
    assert words["plain"] == "excluded: it does not offer tools, vision"
    assert words["shunned"] == "excluded: the request rules it out"
    assert words["pricey"] == (
        "excluded: its price ($1.9 in, $5.7 out per million tokens) is above the request's max_price"
    )
    assert words["dear"] == (
        "excluded: its price ($9 in, $27 out per million tokens) is above the buyer's cap; "
        "its price ($9 in, $27 out per million tokens) is above the request's max_price"
    )
    dear = find(explanation, "dear")
    assert (dear.verdict, dear.excluded_by, dear.rank) == ("excluded", ("price_cap", "max_price"), None)
    assert dear.scores is not None
    assert find(explanation, "good").rank == 1


def test_filters_that_leave_few() -> None:
    market = looking("a", "b", models=(ModelRules("m", pin=("b/m",), pin_only=True),))
    explanation = Told(market).answers().explain()
    assert find(explanation, "a").words == "excluded: only pinned endpoints may serve this model"
    market = looking("a", "b")
    explanation = Told(market, preferences=Preferences(only=("b",))).answers().explain()
    assert find(explanation, "a").words == "excluded: the request allows only others"


def test_a_tier_with_a_bar() -> None:
    market = looking("a", "b", "new", tiers=(Tier("high", min_reputation=0.85),))
    market.see("a", times=30, ms=3000)
    market.see("b", times=30, ms=200)
    explanation = Told(market, tier="high").answers().explain()
    assert explanation.tier == "high"
    assert find(explanation, "a").words.startswith("excluded: its reputation of 0.")
    assert find(explanation, "a").words.endswith(" is below the tier's 0.85")
    assert find(explanation, "new").verdict != "excluded"


def test_a_cap_and_a_bar_hold_without_any_filter_of_the_request() -> None:
    told = Told(Market(endpoint("a"), endpoint("dear", 9.0), looks=Looks(100, PARAMS))).answers()
    explanation = told.explain()
    assert find(explanation, "dear").excluded_by == ("price_cap",)


def test_filters_too_long_to_keep_are_said_to_be() -> None:
    preferences = Preferences(ignore=tuple(f"name-{at}" for at in range(1000)))
    explanation = Told(looking("a", "b"), preferences=preferences).answers().explain()
    assert (
        explanation.models[0].words == "the model asked for, 1 attempt; the request's own filters were too long to keep"
    )


def test_what_is_chosen_a_moment_before_is_no_riddle() -> None:
    told = Told(looking("a", "b")).fails(ms=1).answers()
    finished = told.finished()
    # As if b had been by far the better one in the sight that both choices share.
    finished.log = (finished.log[0],)
    finished.status = 502
    finished.log[0].why = finished.log[0].why.__class__.LAST_RESORT
    rows = finished.sights[0].get_rows()
    assert len(rows) == 2
    finished.log[0].endpoint = rows[1].endpoint
    explanation = explain(finished)
    assert find(explanation, "a").words.startswith("passed over for b/m, which was chosen a moment before (score 0.")


# ---- models ----------------------------------------------------------------------------------------------------------


def test_a_fallback_model_is_told_apart() -> None:
    market = Market(
        endpoint("a"),
        endpoint("b", model="n"),
        endpoint("c", model="o"),
        models=(ModelRules("m", aliases=("default",), fallback_models=("n", "o")),),
        looks=Looks(100, PARAMS),
    )
    explanation = Told(market, "default").fails(Fault.UNREACHABLE, status=None).answers().explain()
    assert explanation.endpoint == "b/n"
    assert [(part.model, part.fallback, part.words) for part in explanation.models] == [
        ("m", False, "what 'default' stands for, 1 attempt"),
        ("n", True, "a fallback model, 1 attempt"),
        ("o", True, "a fallback model, not tried"),
    ]
    assert explanation.models[2].candidates == ()


def test_nobody_of_an_unreached_model_was_needed() -> None:
    market = Market(
        endpoint("a"),
        endpoint("b", model="n"),
        models=(ModelRules("m", fallback_models=("n",)),),
        looks=Looks(100, PARAMS),
    )
    told = Told(market).answers()
    finished = told.finished()
    finished.sights = (*finished.sights, *market.plan("n").sights)
    explanation = explain(finished)
    assert (find(explanation, "b", "n").verdict, find(explanation, "b", "n").words) == (
        "not_needed",
        "nobody of this model was asked",
    )


def test_a_model_passed_over_says_why() -> None:
    market = Market(
        endpoint("a", features=frozenset()),
        endpoint("b", model="n"),
        models=(ModelRules("m", fallback_models=("n",)),),
        looks=Looks(100, PARAMS),
    )
    explanation = Told(market, features=frozenset({"tools"})).answers().explain()
    first, second = explanation.models
    assert first.words.startswith("No endpoint of model 'm' can serve this request: features excludes 1")
    assert (second.model, second.fallback) == ("n", True)
    assert find(explanation, "a").words == "excluded: it does not offer tools"
    assert explanation.endpoint == "b/n"


def test_a_refused_request_says_which_filter_emptied_the_pool() -> None:
    market = looking("a", "b")
    with pytest.raises(EmptyPool) as refused:
        market.plan(preferences=Preferences(only=("x",)))
    error = refused.value
    finished = Finished(
        b"r",
        "chat",
        get_cut_ask(Ask("m")),
        False,
        400,
        (),
        error.lanes,
        error.sights,
        began_us=T,
        ended_us=T,
        code="no_endpoint_fits",
    )
    explanation = explain(finished)
    assert explanation.summary == f"Refused with 400 without asking any endpoint: {error}"
    assert [one.excluded_by for one in explanation.models[0].candidates] == [("only",), ("only",)]
    assert explanation.attempts == ()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "model_not_found", "model not found."),
        (400, "", "the request could not be read."),
        (503, "no_endpoint_available", "none could be tried at that moment."),
    ],
)
def test_other_refusals(status: int, code: str, words: str) -> None:
    finished = Finished(b"r", "chat", Ask("nope"), False, status, (), began_us=T, ended_us=T + 5, code=code)
    assert explain(finished).summary == f"Refused with {status} without asking any endpoint: {words}"
    assert make_brief(finished).endpoint is None


# ---- small parts -----------------------------------------------------------------------------------------------------


def test_the_usual_request_says_its_times_by_its_attempt() -> None:
    told = Told(looking("a")).answers(ms=250)
    whole = told.finished()
    short = Finished(b"req-1", "chat", told.plan.ask, False, 200, whole.log, whole.lanes, whole.sights, whole.usage)
    assert explain(short) == explain(whole)
    assert make_brief(short) == make_brief(whole)
    told = Told(looking("a"))
    assert Finished(b"r", "chat", told.plan.ask, False, 200, tuple(told.machine.log)).total_us == 0


def test_a_brief_is_the_head_of_an_explanation() -> None:
    told = Told(looking("a", "b")).fails().answers()
    brief, explanation = make_brief(told.finished()), told.explain()
    for name in ("request_id", "at_s", "api", "model", "status", "endpoint", "total_s", "ttft_s", "cost_usd"):
        assert getattr(brief, name) == getattr(explanation, name), name
    assert brief.attempts == 2


def test_which_sight_is_that_of_a_time() -> None:
    market = looking("a", "b", "c")
    plan = market.plan()
    plan.next(market.now)
    market.now += AGAIN_US
    plan.next(market.now)
    early, late = plan.sights
    assert get_sight(plan.sights, "m", early.at_us - 1) is early
    assert get_sight(plan.sights, "m", late.at_us - 1) is early
    assert get_sight(plan.sights, "m", late.at_us) is late
    assert get_sight(plan.sights, "m", None) is late
    assert get_sight(plan.sights, "n", None) is None


def test_an_endpoint_tried_outside_the_rows_kept_is_still_told() -> None:
    market = Market(*(endpoint(f"e{at}", 0.01 + at / 100) for at in range(80)), looks=Looks(1000, PARAMS))
    explanation = Told(market, preferences=Preferences(order=("e79",))).fails().answers().explain()
    [part] = explanation.models
    [unseen] = [one for one in part.candidates if one.scores is None]
    assert (unseen.endpoint, unseen.verdict) == ("e79/m", "failed")
    assert len(part.candidates) == 65
    assert part.left_out == 15
    assert explanation.attempts[0].words.startswith("named first by the request; failed")


def test_who_is_behind_one_without_figures() -> None:
    market = Market(*(endpoint(f"e{at}", 0.01 + at / 100) for at in range(80)), looks=Looks(1000, PARAMS))
    explanation = Told(market, preferences=Preferences(order=("e79",))).answers().explain()
    assert find(explanation, "e0").words == "came after those that were tried"


def test_names_that_clients_make_up_are_cut() -> None:
    long = "x" * 1000
    told = Told(looking("a", "b"), session=long, preferences=Preferences(ignore=("b",))).answers()
    assert told.explain().session == long[:MAX_TEXT]
    cut = get_cut_ask(Ask(long, (long,), long, long, long))
    assert {len(cut.model), len(cut.task), len(cut.tier or ""), len(cut.session or "")} == {MAX_TEXT}
    assert cut.fallback_models == ()


def test_words_of_time_and_number() -> None:
    assert [tell_seconds(us) for us in (0, 12_345, 999_000, 1_000_000, 12_345_678)] == [
        "0 ms",
        "12 ms",
        "999 ms",
        "1.00 s",
        "12.35 s",
    ]
    assert [tell_ordinal(number) for number in (1, 2, 10)] == ["first", "second", "tenth"]
    assert [tell_ordinal(number) for number in (11, 12, 13, 20, 21, 22, 23, 24, 111)] == [
        "11th",
        "12th",
        "13th",
        "20th",
        "21st",
        "22nd",
        "23rd",
        "24th",
        "111th",
    ]


def test_a_class_of_which_only_one_could_be_tried_is_no_class() -> None:
    market = Market(endpoint("a"), endpoint("b"), endpoint("c", 1.9), looks=Looks(100, PARAMS))
    told = Told(market)
    first, other = told.trying, "b" if told.trying == "a" else "a"
    explanation = told.fails().answers().explain()
    assert explanation.attempts[0].words.startswith("one of 2 within 0.02 of the best")
    assert explanation.attempts[1].endpoint == f"{other}/m"
    assert explanation.attempts[1].words.startswith("the best score of those that could be tried (score ")
    assert find(explanation, first).verdict == "failed"


def test_candidates_are_in_the_order_of_their_score() -> None:
    market = looking("a", "b", "c", "dear")
    market.router.reprice({"dear/m": endpoint("dear", 9.0).price})
    market.see("a", times=20, ms=300)
    market.fail("a", times=3)
    explanation = Told(market).answers().explain()
    [part] = explanation.models
    assert [one.endpoint for one in part.candidates] == ["b/m", "c/m", "a/m", "dear/m"]
    assert [one.rank for one in part.candidates] == [1, 2, 3, None]


def test_without_looks_the_attempts_are_told_all_the_same() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    explanation = Told(market).fails().answers().explain()
    [part] = explanation.models
    assert part.words == "the model asked for, 2 attempts; the figures of that moment are no longer kept"
    assert len(explanation.attempts) == 2
    assert {one.verdict for one in part.candidates} == {"failed", "answered"}
