"""What the end of an attempt says: to the ranking (an observation), to the counters, and to a key's budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from providerrank.gateway.schemas import breaks_schema
from providerrank.gateway.tool_calls import judge_calls
from providerrank.rules.attempt import Attempt
from providerrank.rules.budget import compute_cost_nusd
from providerrank.rules.observation import Observation, Outcome
from providerrank.wire.answer import Usage
from providerrank.wire.intake import BYTES_PER_TOKEN, Intake

if TYPE_CHECKING:
    from providerrank.gateway.exchange import Exchange
    from providerrank.gateway.keys import Claim
    from providerrank.gateway.leg import Leg
    from providerrank.gateway.relay import Relay


_SUCCESS: Final = Outcome.SUCCESS


def account_lost(exchange: Exchange, leg: Leg, outcome: Outcome, now: int) -> None:
    """An attempt ended without the answer."""
    if exchange.claim is not None:
        _charge_lost(exchange, exchange.claim, leg)
    attempt = leg.attempt
    total = now - attempt.started_us
    observation = Observation(
        attempt.endpoint.id,
        exchange.intake.task,
        now,
        outcome,
        _get_ttft_us(exchange, attempt),
        total,
        silent_us=total if attempt.beaten else None,
    )
    exchange.gateway.end_attempt(attempt, observation, exchange.session)


def account_answer(exchange: Exchange, leg: Leg, now: int, usage: Usage | None, counted: int) -> None:
    """An attempt brought the answer; ``counted`` are its completion tokens as well as can be told from outside."""
    gateway, intake, attempt, target = exchange.gateway, exchange.intake, leg.attempt, leg.target
    endpoint = attempt.endpoint
    prompt = intake.input_tokens
    billed = cached = None
    if usage is not None:
        billed, cached = usage.completion_tokens, usage.cached_tokens
        if usage.prompt_tokens is not None:
            prompt = usage.prompt_tokens
    tokens = counted if billed is None else billed
    cost = compute_cost_nusd(endpoint.price, prompt, tokens, cached or 0)
    if intake.prefix:
        gateway.router.settle(intake.prefix, endpoint.id, prompt, cached, now)
    exchange.usage = (prompt, tokens, cost)
    if exchange.claim is not None:
        exchange.claim.charge(endpoint, prompt, tokens, cached or 0)
    stats = target.stats
    stats.input_tokens += prompt
    stats.output_tokens += tokens
    stats.cost_nusd += cost
    total = now - attempt.started_us
    outcome = _SUCCESS
    relay = leg.relay
    if relay is None:
        target.pace.observe(total, tokens)
    else:
        target.pace.observe(now - (attempt.first_content_us or now), tokens)
        if relay.bad_events or intake.schema is not None or relay.calls is not None:
            outcome = _judge_delivered(relay, intake)
    observation = Observation(
        endpoint.id,
        intake.task,
        now,
        outcome,
        _get_ttft_us(exchange, attempt),
        total,
        prompt,
        counted if billed is not None else None,
        billed,
    )
    gateway.end_attempt(attempt, observation, exchange.session)


def charge(exchange: Exchange, claim: Claim, leg: Leg, usage: Usage | None, written_bytes: int) -> None:
    """Charge what an attempt says it used; where it says nothing, what was sent and what came."""
    used = usage or Usage()
    claim.charge(
        leg.attempt.endpoint,
        exchange.intake.input_tokens if used.prompt_tokens is None else used.prompt_tokens,
        max(written_bytes // BYTES_PER_TOKEN, 0) if used.completion_tokens is None else used.completion_tokens,
        used.cached_tokens or 0,
    )


def _charge_lost(exchange: Exchange, claim: Claim, leg: Leg) -> None:
    """Charge what is known of what an attempt without the answer cost."""
    attempt, relay = leg.attempt, leg.relay
    if relay is not None and attempt.first_content_us is not None:
        charge(exchange, claim, leg, relay.usage, relay.written_bytes)
    elif attempt.fault is None and attempt.connected_us is not None:
        # Nobody waited for its answer; its prompt had been read all the same.
        charge(exchange, claim, leg, None, 0)


def _judge_delivered(relay: Relay, intake: Intake) -> Outcome:
    """What a stream that was delivered turned out to be: it can not be taken back, but its endpoint answers for it."""
    if relay.bad_events:
        return Outcome.FAILURE
    schema = intake.schema
    broken = schema is not None and relay.is_plain_and_complete and breaks_schema(schema, relay.text)
    if relay.calls is not None and judge_calls(intake, relay.whole_calls) is not None:
        broken = True
    return Outcome.SCHEMA_VIOLATION if broken else Outcome.SUCCESS


def _get_ttft_us(exchange: Exchange, attempt: Attempt) -> int | None:
    """Time to the first content.

    An answer that is not streamed shows no first token. The time to its first byte stands in for it,
    but only while nobody has streamed this model: the two must not be compared with each other.
    """
    first = attempt.first_content_us
    if first is None:
        return None
    streamed = exchange.gateway.streamed_models
    if exchange.intake.stream:
        streamed.add(attempt.model)
    elif attempt.model in streamed:
        return None
    return first - attempt.started_us
