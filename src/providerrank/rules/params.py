"""Every number the rules use, versioned together.

A policy and a bundle name the ``version`` they used, so two parties that name the same version
compute the same ranking from the same windows. Nothing here is tuned to one data file: each number
is either a promise of the design (its reason is a trade-off stated in words), a physical bound, or
a default that evidence overrules within a few requests.

To change one in an experiment: ``dataclasses.replace(PARAMS, exploration_floor=0.01)`` and pass the
result to whoever takes ``params``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from providerrank.rules import cells

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US


@dataclass(frozen=True, slots=True)
class TaskParams:
    """What one task is expected to look like."""

    target_ttft_us: int = 300_000
    """Time to first token past which faster earns nothing. 0.3 s: below it a reader feels no wait."""
    input_tokens: float = 1_200.0
    """Expected prompt tokens of a request, for its expected cost."""
    output_tokens: float = 200.0
    """Expected completion tokens of a request, for its expected cost."""
    cached_tokens: float = 0.0
    """Of the input, expected from the provider's cache: none, since a routed request may be a conversation's first."""
    prior_ttft_us: int = 700_000
    """TTFT assumed where nobody has measured any endpoint of the model; worth ``prior_ttft_requests``."""


def _get_default_tasks() -> dict[str, TaskParams]:
    """Token counts of a request by task.

    Round figures near the means of azure_llm_2023 (conversation 1243/217, code 2028/27 completions,
    where an assistant's whole-answer code is longer) and mooncake_fast25 (long context 12870/346).
    """
    return {
        cells.CHAT: TaskParams(),
        cells.CODE: TaskParams(input_tokens=2_000.0, output_tokens=400.0),
        cells.JSON: TaskParams(input_tokens=1_200.0, output_tokens=200.0),
        cells.TOOLS: TaskParams(input_tokens=2_000.0, output_tokens=150.0),
        cells.LONG_CONTEXT: TaskParams(
            target_ttft_us=1_500_000, input_tokens=24_000.0, output_tokens=350.0, prior_ttft_us=3_000_000
        ),
    }


@dataclass(frozen=True, slots=True)
class ChallengeParams:
    """What a challenge may cost: the bound on its answer, and how much there is to read. Part of what is hashed."""

    chat_max_tokens: int = 160
    """Answers are a word to two sentences; the rest is room for a model that thinks aloud briefly."""
    code_max_tokens: int = 600
    """The longest solution takes 150 tokens; models add docstrings and types."""
    json_max_tokens: int = 400
    tools_max_tokens: int = 200
    long_context_max_tokens: int = 120
    long_context_characters: int = 72_000
    """Least length of the text to be read: past ``long_context_tokens`` at up to 4.5 characters a token."""


@dataclass(frozen=True, slots=True)
class Params:
    """The protocol's parameters. Units are in the names; a bare number is a ratio or a count of requests."""

    version: str = "1"
    """Named by policies and bundles; any change below is a new version."""

    # Composite and reputation: the design's weights.
    reputation_weight: float = 0.6
    price_weight: float = 0.4
    latency_weight: float = 0.4
    reliability_weight: float = 0.4
    uptime_weight: float = 0.2
    ttft_median_power: float = 0.7
    """``ttft = p50^0.7 * p95^0.3``: the usual wait, with the tail felt three times in ten."""
    ttft_tail_power: float = 0.3
    reliability_power: int = 3
    """``s^3``, the chance of three successes in a row: one failure in ten then costs more than a tenth of the cap."""
    price_power: int = 2
    """``1 - x^2``: flat where prices are low, steep near the cap (half the cap 0.75, 95 % of it 0.10)."""
    tasks: dict[str, TaskParams] = field(default_factory=_get_default_tasks)

    # Time.
    history_half_life_us: int = 6 * HOUR_US
    """Long enough for a few hundred requests at low traffic, short enough to follow a day's load curve."""
    session_half_life_us: int = 2 * MINUTE_US
    """One stretch of work: what happened five minutes ago is mostly forgotten."""
    history_prior_requests: float = 20.0
    """History's weight against the session's observations, when it has at least that much evidence."""
    refresh_us: int = 15 * SECOND_US
    """How often a standing moved by the session is revisited as the session fades: an eighth of its half-life."""
    rescore_us: int = 20_000
    """A well-known cell's successes within this time of its last estimate wait for the next: nobody ranks faster."""
    session_negligible_requests: float = 0.05
    """Session evidence below this no longer moves a score visibly (0.05 / 20 of the difference)."""
    max_sessions: int = 100_000
    """Named sessions kept; the one unused longest goes first."""
    max_session_cells: int = 8
    """Cells a named session remembers; the one unused longest goes first."""
    uptime_step_us: int = SECOND_US
    """Uptime is accounted in steps no shorter than this while an endpoint's state does not change."""

    # Outage belief.
    belief_floor: float = 0.01
    """Share of time an endpoint is out, before any evidence: two nines, as openrouter_uptime's daily figures."""
    belief_ceiling: float = 0.8
    """However many failures, due for a try after 20 s without one: they tell of now, not of how long it will last."""
    belief_half_life_us: int = 30 * SECOND_US
    """Most blips of recorded endpoints are over within a minute."""
    belief_out: float = 0.5
    """More likely out than not: passed over."""
    out_failure_rate: float = 0.85
    """How often an endpoint that is out fails; not 1, since partial outages are the commonest."""
    healthy_failure_min: float = 0.01
    """No endpoint is believed better than this in the Bayes step, or one stray failure would exile the best."""
    healthy_failure_cap: float = 0.15
    """Nor worse than this: (0.85 / 0.15)^3 * 0.01 / 0.99 > 1, so three failures in a row put any endpoint past 0.5."""
    silent_healthy_rate: float = 0.5
    """After a slow answer of a healthy endpoint the next is slow about every other time, however rare slow ones are."""
    refused_healthy_rate: float = 0.0001
    """A healthy endpoint refuses our key, balance or model name next to never: one refusal puts it out."""
    rate_limited_weight: float = 0.25
    """A 429 as a share of a failure: it says busy, and says so quickly; four weigh as one."""
    belief_suspect: float = 0.03
    """Above it an endpoint is looked at with its belief when choosing; below, all are alike."""
    trial_cost: float = 0.1
    """What trying a suspect costs when it is out, in composite score: an attempt and its wait."""
    trial_us: int = 10 * SECOND_US
    """A believed-out endpoint given its single try is not given another for this long, unless the try reports."""
    refused_trial_us: int = 30 * SECOND_US
    """First pause after a refusal; doubled by each further one, since a wrong key mends only by a person."""
    refused_trial_max_us: int = 5 * MINUTE_US

    # Prompt caches.
    cache_life_us: int = 5 * MINUTE_US
    """How long a provider keeps a prompt's prefix without use: the shortest that large ones promise."""
    cache_bytes: int = 4096
    """A prompt is known by its first bytes, and a shorter one is not followed: caches begin at about 1,024 tokens."""
    max_homes: int = 50_000
    """Prompts whose home is remembered; the one unused longest goes first."""

    # Priors.
    prior_success: float = 0.98
    """Healthy success rate assumed where the model has no measured endpoint; openrouter_uptime's medians are above."""
    prior_success_requests: float = 8.0
    """Weight of the success prior: a handful of requests overrule it."""
    prior_ttft_requests: float = 1.0
    """Weight of the latency prior: no more than one request, since TTFT differs more between endpoints than within."""
    prior_uptime_us: int = 30 * MINUTE_US
    """Assumed up for so long before we knew it: a minute's outage in its first hour is no verdict."""
    prior_ttft_log_sd: float = 0.8
    """Spread of log TTFT between endpoints of one model (a factor of 2.2), for sampling."""
    prior_pool_requests: float = 2.0
    """How many measured endpoints the defaults above are worth against the model's own."""
    borrowed_requests: float = 5.0
    """A cell with other tasks' history beside it takes the endpoint's own figures as a prior of this weight."""

    # Choice.
    class_width: float = 0.02
    """Composite scores this close are one class: below what the sketch and a few requests can tell apart."""
    exploration_floor: float = 0.02
    """Share of requests that pick by a sample once the pool is known; the buyer's setting replaces it."""
    cold_start_requests: float = 12.0
    """Requests per candidate by which the cold-start share has fallen to a tenth."""
    sample_success_requests: float = 4.0
    """Weight, in a sample, of a success rate nobody tested lately: tells 0.5 from 0.99, not 0.9 from 0.99."""
    sample_top: int = 24
    """Candidates sampled from the head of the ranking, and"""
    sample_rest: int = 8
    """at random from the rest: choosing stays O(1) in the pool, and every endpoint is still tried in time."""
    unproven_requests: float = 3.0
    """Below this evidence an endpoint is not held to a tier's min_reputation, but comes after those that meet it."""
    concurrency_limit: float = 64.0
    """In-flight limit assumed of an endpoint that never rate-limited us; only ratios of loads matter."""
    concurrency_decrease: float = 0.7
    """On a 429 the learned limit falls to this share of what was in flight (AIMD, as congestion control does)."""
    concurrency_min: float = 1.0
    concurrency_forget: float = 2.0
    """A learned limit past the default and this many times what is in flight no longer says anything."""
    crowd: int = 16
    """Requests in flight from which a slow endpoint may be slow because of us."""
    crowded_ratio: float = 2.0
    """It is, when its TTFT of the last minutes is this many times what it was before."""
    crowded_decrease: float = 0.9
    """Then its limit falls to this share of what is in flight: gently, since slowness may have another reason,"""
    crowded_us: int = SECOND_US
    """and no more often than this, so that each step can show what it does."""

    # Tasks.
    long_context_tokens: int = 16_000
    """Estimated prompt tokens past which an unmarked request is a long-context one."""

    # Challenges.
    challenge: ChallengeParams = field(default_factory=ChallengeParams)

    # First-token clock.
    first_token_margin: float = 2.0
    """Times the cell's p99."""
    first_token_floor_us: int = 2 * SECOND_US
    first_token_ceiling_us: int = 60 * SECOND_US
    first_token_default_us: int = 10 * SECOND_US
    """Until a cell has ``first_token_requests`` of its own."""
    first_token_requests: float = 20.0
    """A p99 of fewer is only their slowest."""

    # Hedging (see hedging.py).
    hedge_share: float = 0.05
    """Of requests, at most this many have a second attempt; the buyer's setting replaces it."""
    hedge_saved_requests: int = 1_000
    """What so many requests earn can be saved up: slow answers come together, and an overload must not be doubled."""
    hedge_requests: float = 20.0
    """TTFTs of a cell's own before its p95 is trusted: of fewer it is only their slowest."""
    hedge_floor_us: int = 100_000
    """Nobody feels a shorter wait, and a second attempt takes about as long to show anything."""
    hedge_hopeless: float = 0.1
    """Below this chance of being faster a second attempt is a cost and no insurance."""
    hedge_input_tokens: int = 16_000
    """A longer prompt is not sent twice: it alone would cost as much as a dozen usual requests."""
    hedge_known_us: int = SECOND_US
    """How often a cell's time is found anew: it walks all buckets, and tails change slowly."""

    # Metering.
    billing_tolerance: float = 0.1
    """Billed over counted tokens, less one, that passes: special tokens, and counts estimated from bytes."""
    billing_tokens: float = 2_000.0
    """Counted tokens before a cell's ratio is judged at all."""

    usual_billing_us: int = 10 * SECOND_US
    """How often a model's usual ratio is found anew: it walks all endpoints, and habits of billing change slowly."""

    def get_task(self, task: str) -> TaskParams:
        """Parameters of a task; an unknown task is treated as chat."""
        return self.tasks.get(task) or self.tasks[cells.CHAT]


PARAMS = Params()
VERSION = PARAMS.version
