"""From a finished request to its explanation: who was considered, what became of each, and why.

A candidate's figures are those of the sight it was last considered in: the one before its own attempt, or, where it was
not tried, the last one of its model. What is said of it follows from these and from the log alone; nothing is looked up
in the live state, which has moved on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from providerrank.rules import explain_words as words
from providerrank.rules.attempt import Attempt
from providerrank.rules.cells import NUSD_PER_USD
from providerrank.rules.explanation import Brief, Candidate, Explanation, ModelPart, Scores, Tried, Verdict
from providerrank.rules.finished import Finished
from providerrank.rules.params import PARAMS, SECOND_US, Params
from providerrank.rules.sight import Lane, Row, Sight
from providerrank.rules.why import Why


def explain(finished: Finished, params: Params = PARAMS) -> Explanation:
    """Tell what was done with a request and why."""
    ask = finished.ask
    answered = finished.answered
    ttft_us = finished.ttft_us
    return Explanation(
        request_id=finished.request_id.decode("ascii", "replace"),
        at_s=finished.at_us / SECOND_US,
        api=finished.api,
        model=ask.model,
        task=ask.task,
        tier=ask.tier,
        session=ask.session,
        stream=finished.stream,
        status=finished.status,
        endpoint=None if answered is None else answered.endpoint.id,
        total_s=finished.total_us / SECOND_US,
        ttft_s=None if ttft_us is None else ttft_us / SECOND_US,
        input_tokens=finished.usage[0],
        output_tokens=finished.usage[1],
        cost_usd=finished.usage[2] / NUSD_PER_USD,
        key=finished.key,
        summary=words.tell_summary(finished),
        attempts=tuple(_view_attempt(finished, attempt, params) for attempt in finished.log),
        attempts_left_out=max(0, finished.attempts - len(finished.log)),
        models=tuple(_view_model(finished, lane, at, params) for at, lane in enumerate(finished.lanes)),
        probe=finished.is_probe,
    )


def make_brief(finished: Finished) -> Brief:
    """Tell what a list of requests shows of one."""
    answered = finished.answered
    ttft_us = finished.ttft_us
    return Brief(
        request_id=finished.request_id.decode("ascii", "replace"),
        at_s=finished.at_us / SECOND_US,
        api=finished.api,
        model=finished.ask.model,
        status=finished.status,
        endpoint=None if answered is None else answered.endpoint.id,
        attempts=max(finished.attempts, len(finished.log)),
        total_s=finished.total_us / SECOND_US,
        ttft_s=None if ttft_us is None else ttft_us / SECOND_US,
        cost_usd=finished.usage[2] / NUSD_PER_USD,
    )


def get_why(attempt: Attempt, lanes: Sequence[Lane]) -> str:
    """Why its endpoint was chosen, what comes first told apart: ``order``, ``sort`` or ``pin``."""
    if attempt.why is not Why.FIRST:
        return str(attempt.why.value)
    lane = next((lane for lane in lanes if lane.model == attempt.model), None)
    if lane is None or attempt.endpoint.id in lane.order:
        return "order"
    return "pin" if lane.sort is None else "sort"


def get_sight(sights: Sequence[Sight], model: str, at_us: int | None) -> Sight | None:
    """The latest sight of a model at or before a time, else its first; ``at_us`` None: the last."""
    seen = [sight for sight in sights if sight.model == model]
    before = [sight for sight in seen if at_us is None or sight.at_us <= at_us]
    return before[-1] if before else seen[0] if seen else None


def _get_order(row: Row) -> tuple[bool, float]:
    """The best first, those above the price cap last."""
    return row.over_cap, -row.effective


def _to_s(finished: Finished, at_us: int | None) -> float | None:
    return None if at_us is None else (at_us - finished.at_us) / SECOND_US


def _view_attempt(finished: Finished, attempt: Attempt, params: Params) -> Tried:
    why = get_why(attempt, finished.lanes)
    sight = get_sight(finished.sights, attempt.model, attempt.started_us)
    rows = [] if sight is None else sight.get_rows()[: sight.members]
    row = next((row for row in rows if row.endpoint.id == attempt.endpoint.id), None)
    tried = {one.endpoint.id for one in finished.log if one.started_us < attempt.started_us}
    could = [one for one in rows if one.endpoint.id not in tried and one.cooling_until_us <= attempt.started_us]
    chosen = words.tell_choice(why, row, could, params)
    return Tried(
        endpoint=attempt.endpoint.id,
        model=attempt.model,
        why=why,
        outcome=finished.get_outcome(attempt),
        status=attempt.status,
        continues=attempt.resuming,
        started_s=(attempt.started_us - finished.at_us) / SECOND_US,
        connected_s=_to_s(finished, attempt.connected_us),
        first_content_s=_to_s(finished, attempt.first_content_us),
        ended_s=_to_s(finished, attempt.ended_us),
        words=f"{chosen}; {words.tell_end(finished, attempt)}",
    )


@dataclass(frozen=True, slots=True)
class _Scene:
    """One model of a request."""

    finished: Finished
    lane: Lane
    params: Params
    attempts: dict[str, Attempt]
    """The last attempt of each endpoint that was tried."""
    chosen: Row | None
    """The figures of the last one chosen, as the rest was passed over for it."""
    last: Attempt | None


def _view_model(finished: Finished, lane: Lane, at: int, params: Params) -> ModelPart:
    attempts = {one.endpoint.id: one for one in finished.log if one.model == lane.model}
    last = get_sight(finished.sights, lane.model, None)
    rows = [] if last is None else sorted(last.get_rows(), key=_get_order)
    latest = next((one for one in reversed(finished.log) if one.model == lane.model), None)
    chosen = None if latest is None else _find(finished, latest)
    scene = _Scene(finished, lane, params, attempts, chosen, latest)
    ranks: dict[str, int] = {}
    candidates = []
    for row in rows:
        tried = attempts.get(row.endpoint.id)
        seen = get_sight(finished.sights, lane.model, tried.started_us) if tried is not None else last
        then = row if tried is None else _find(finished, tried) or row
        failed = _get_filters(scene, then)
        if not failed or tried is not None:
            ranks[row.endpoint.id] = len(ranks) + 1
        verdict, why = _judge(scene, then, failed, tried, finished.at_us if seen is None else seen.at_us)
        candidates.append(
            Candidate(
                endpoint=row.endpoint.id,
                rank=ranks.get(row.endpoint.id),
                verdict=verdict,
                words=why,
                excluded_by=() if tried is not None else failed,
                scores=_view_scores(then, finished.at_us if seen is None else seen.at_us, finished),
            )
        )
    known = {row.endpoint.id for row in rows}
    candidates += [_view_unseen(scene, attempt) for name, attempt in attempts.items() if name not in known]
    is_fallback = at > 0 or any(other.refused for other in finished.lanes[:at])
    return ModelPart(
        model=lane.model,
        fallback=is_fallback,
        words=words.tell_model(finished, lane, is_fallback, bool(rows) or (last is None and not attempts)),
        candidates=tuple(candidates),
        left_out=max(0, (0 if last is None else last.left_out) - (len(candidates) - len(rows))),
    )


def _find(finished: Finished, attempt: Attempt) -> Row | None:
    """An attempt's endpoint as it was when it was chosen."""
    sight = get_sight(finished.sights, attempt.model, attempt.started_us)
    rows = [] if sight is None else sight.get_rows()
    return next((row for row in rows if row.endpoint.id == attempt.endpoint.id), None)


def _get_filters(scene: _Scene, row: Row) -> tuple[str, ...]:
    lane, pool = scene.lane, scene.lane.pool
    is_barred = (
        lane.min_reputation is not None
        and row.reputation < lane.min_reputation
        and row.evidence >= scene.params.unproven_requests
    )
    if pool is not None:
        return pool.get_failed_by(row.endpoint, row.over_cap, is_barred)
    names = (("price_cap", row.over_cap), ("min_reputation", is_barred))
    return tuple(name for name, failed in names if failed)


def _judge(scene: _Scene, row: Row, failed: tuple[str, ...], tried: Attempt | None, at_us: int) -> tuple[Verdict, str]:
    """What became of one candidate, and the words for it."""
    finished, params, chosen = scene.finished, scene.params, scene.chosen
    if tried is not None:
        return _get_tried_verdict(finished.get_outcome(tried)), words.tell_end(finished, tried)
    if failed:
        return "excluded", words.tell_filters(failed, scene.lane, row)
    state = _judge_state(row, at_us, params)
    if state is not None:
        return state
    if scene.last is None:
        return "not_needed", "nobody of this model was asked"
    if chosen is None:
        return "behind", "came after those that were tried"
    if scene.last.why in {Why.BEST, Why.CLASS} and row.effective >= chosen.effective - params.class_width:
        return "peer", words.tell_peer(row, chosen, params)
    return "behind", words.tell_behind(row, chosen, get_why(scene.last, finished.lanes))


def _judge_state(row: Row, at_us: int, params: Params) -> tuple[Verdict, str] | None:
    """What was the matter with the endpoint then; None: nothing."""
    if row.cooling_until_us > at_us:
        return "cooling", f"rate-limited for another {(row.cooling_until_us - at_us) / SECOND_US:.1f} s"
    if row.hold_until_us > at_us:
        return "out", words.tell_hold(row, at_us)
    if row.belief > params.belief_out:
        return "out", f"believed out with a probability of {row.belief:.0%}; tried now and then"
    return None


def _get_tried_verdict(outcome: str) -> Verdict:
    if outcome == "answered":
        return "answered"
    return "abandoned" if outcome == "abandoned" else "failed"


def _view_unseen(scene: _Scene, attempt: Attempt) -> Candidate:
    """One that was tried and is not among the rows kept."""
    verdict = _get_tried_verdict(scene.finished.get_outcome(attempt))
    return Candidate(attempt.endpoint.id, None, verdict, words.tell_end(scene.finished, attempt), (), None)


def _view_scores(row: Row, at_us: int, finished: Finished) -> Scores:
    return Scores(
        at_s=(at_us - finished.at_us) / SECOND_US,
        effective=row.effective,
        composite=row.composite,
        reputation=row.reputation,
        latency=row.latency,
        reliability=row.reliability,
        uptime=row.uptime,
        price=row.price_score,
        outage_belief=row.belief,
        honesty=row.honesty,
        ttft_s=row.ttft_us / SECOND_US,
        success=row.success,
        cost_usd=row.cost_nusd / NUSD_PER_USD,
        requests=row.evidence,
        in_flight=row.in_flight,
        concurrency_limit=row.concurrency_limit,
    )
