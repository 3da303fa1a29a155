"""The words of an explanation: plain sentences about one request, made from values alone."""

from __future__ import annotations

from collections.abc import Sequence

from providerrank.rules.attempt import Attempt
from providerrank.rules.cells import NUSD_PER_USD
from providerrank.rules.finished import CLIENT_LEFT, Finished
from providerrank.rules.params import SECOND_US, Params
from providerrank.rules.sight import Lane, Row

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def tell_seconds(us: float) -> str:
    """A length of time as a person says it."""
    return f"{us / 1000:.0f} ms" if abs(us) < SECOND_US else f"{us / SECOND_US:.2f} s"


def tell_ordinal(number: int) -> str:
    """Counted from 1."""
    if number <= len(ORDINALS):
        return ORDINALS[number - 1]
    ending = "th" if 11 <= number % 100 <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def tell_summary(finished: Finished) -> str:
    """What happened, in one sentence or two."""
    if finished.is_probe:
        ends = [f"{one.endpoint.id} {tell_end(finished, one)}" for one in finished.log] or ["nobody could be asked"]
        return f"A probe of ours, no client's request: {'; '.join(ends)}."
    total = tell_seconds(finished.total_us)
    answered = finished.answered
    failures = [f"{one.endpoint.id} {tell_fault(one)}" for one in finished.log if one.fault is not None]
    before = f" Before that, {'; '.join(failures[:8])}." if failures else ""
    count = max(finished.attempts, len(finished.log))
    if answered is not None:
        later = len(finished.log) - 1 - finished.log.index(answered)
        at = tell_ordinal(count - later)
        return f"Answered by {answered.endpoint.id} at the {at} attempt, {total} in all.{before}"
    if finished.status == CLIENT_LEFT:
        return f"The client went away after {total}, before its answer was whole.{before}"
    if not finished.log:
        why = next((lane.refused for lane in finished.lanes if lane.refused), "") or _tell_refusal(finished)
        return f"Refused with {finished.status} without asking any endpoint: {why}"
    tries = f"{count} attempt{'s' if count > 1 else ''}"
    if finished.is_broken_off:
        end = "The stream was broken off with an error event"
    else:
        end = f"The client was told {finished.status}"
    return f"{end} after {tries} in {total}: {'; '.join(failures[:8]) or 'none ended'}."


def _tell_refusal(finished: Finished) -> str:
    if finished.status == 503:
        return "none could be tried at that moment."
    return f"{finished.code.replace('_', ' ') or 'the request could not be read'}."


def tell_fault(attempt: Attempt) -> str:
    """What was wrong with an attempt that failed, to follow its endpoint's name."""
    assert attempt.fault is not None
    status = "" if attempt.status is None else f"HTTP {attempt.status}"
    more = ", ".join(part for part in (status, attempt.note) if part)
    return f"failed: {attempt.fault.value}{f' ({more})' if more else ''}"


def tell_end(finished: Finished, attempt: Attempt) -> str:
    """How an attempt ended."""
    took = "" if attempt.ended_us is None else f" after {tell_seconds(attempt.ended_us - attempt.started_us)}"
    if attempt.fault is not None:
        return f"{tell_fault(attempt)}{took}"
    if attempt.beaten:
        return f"dropped{took}, since the other one was quicker; not held against it"
    if attempt is not finished.answered:
        return f"dropped{took}, which says nothing of it"
    first = attempt.first_content_us
    begun = "" if first is None else f", first content after {tell_seconds(first - attempt.started_us)}"
    return f"answered{took}{begun}"


def tell_choice(why: str, row: Row | None, rows: Sequence[Row], params: Params) -> str:
    """Why an endpoint was chosen; ``rows`` are those that could be, it among them."""
    score = "" if row is None else f" (score {row.effective:.3f})"
    if row is not None and params.belief_suspect < row.belief <= params.belief_out and why in {"best", "class"}:
        return f"due for a try after failing lately{score}, out with a probability of {row.belief:.0%}"
    if why == "class" and row is not None:
        best = max((other.effective for other in rows), default=row.effective)
        count = sum(other.effective >= best - params.class_width for other in rows)
        if count > 1:
            return f"one of {count} within {params.class_width} of the best, where load decides{score}"
        why = "best"
    return {
        "best": f"the best score of those that could be tried{score}",
        "class": "one of the best, where load decides",
        "pin": f"pinned by the operator{score}",
        "order": f"named first by the request{score}",
        "sort": f"first by the request's own sort{score}",
        "sample": f"tried to learn more about it, by its chance of being the best{score}",
        "session": f"the best in its own session, which stays where its prompt cache is{score}",
        "cache": f"where its prompt is cached, which is worth more than what another would gain{score}",
        "hedge": f"asked beside the other, which was slower than it usually is{score}",
        "last_resort": f"believed out, but nobody else was left{score}",
        "retry": "the same endpoint once more, since nobody else was left and its failure may pass",
        "waited": "asked again once its rate limit was over",
        "probe": f"not heard of for a while{score}",
    }[why]


def tell_filters(failed: Sequence[str], lane: Lane, row: Row) -> str:
    """Why a candidate is excluded, filter by filter."""
    return "excluded: " + "; ".join(_tell_filter(name, lane, row) for name in failed)


def _tell_filter(name: str, lane: Lane, row: Row) -> str:
    endpoint, pool = row.endpoint, lane.pool
    if name == "features" and pool is not None:
        return f"it does not offer {', '.join(sorted(pool.features - endpoint.features))}"
    if name == "context" and pool is not None:
        return f"it takes {endpoint.context_window:,} tokens and the request needs {pool.context:,}"
    if name in {"price_cap", "max_price"}:
        price = endpoint.price
        usd = f"${price.input_nusd / NUSD_PER_USD:g} in, ${price.output_nusd / NUSD_PER_USD:g} out per million tokens"
        whose = "the buyer's cap" if name == "price_cap" else "the request's max_price"
        return f"its price ({usd}) is above {whose}"
    if name == "min_reputation":
        return f"its reputation of {row.reputation:.2f} is below the tier's {lane.min_reputation or 0:.2f}"
    return {
        "only": "the request allows only others",
        "ignore": "the request rules it out",
        "pin_only": "only pinned endpoints may serve this model",
    }[name]


def tell_hold(row: Row, at_us: int) -> str:
    """It refused us and is left alone."""
    return (
        "refused our key, balance or model name, and is not asked for another "
        f"{(row.hold_until_us - at_us) / SECOND_US:.0f} s"
    )


def tell_peer(row: Row, chosen: Row, params: Params) -> str:
    """As good as the one that was chosen."""
    return (
        f"as good as {chosen.endpoint.id}, within {params.class_width} "
        f"({row.effective:.3f} against {chosen.effective:.3f}); one of them is enough"
    )


def tell_behind(row: Row, chosen: Row, why: str) -> str:
    """It could have been tried, and came after the one that was."""
    first = chosen.endpoint.id
    if row.effective < chosen.effective:
        return f"lower score than {first} ({row.effective:.3f} against {chosen.effective:.3f})"
    reason = {
        "pin": "which is pinned",
        "order": "which the request names first",
        "sort": "which is first by the request's sort",
        "sample": "which was tried to learn more about it",
        "session": "where the session is",
        "cache": "where its prompt is cached",
    }.get(why, "which was chosen a moment before")
    return f"passed over for {first}, {reason} (score {row.effective:.3f} against {chosen.effective:.3f})"


def tell_model(finished: Finished, lane: Lane, is_fallback: bool, has_figures: bool) -> str:
    """What a model's part in the request was."""
    if lane.refused:
        return lane.refused
    count = sum(one.model == lane.model for one in finished.log)
    part = "a fallback model" if is_fallback else "the model asked for"
    if lane.model != finished.ask.model and not is_fallback:
        part = f"what {finished.ask.model!r} stands for"
    tried = f"{count} attempt{'s' if count != 1 else ''}" if count else "not tried"
    hints = []
    if not lane.is_pool_kept:
        hints.append("the request's own filters were too long to keep")
    if not has_figures:
        hints.append("the figures of that moment are no longer kept")
    return f"{part}, {tried}" + "".join(f"; {hint}" for hint in hints)
