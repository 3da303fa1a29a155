"""The gate: 1 or 0 for a whole bundle. One proof that something in it is not true, and it earns nothing.

**Integrity** (exact; an honest miner fails never). The bundle's own faults (signature, root, times, duplicates) and,
for each leaf the later beacon chose: it was opened, it is in the tree, its prompt and parameters are this epoch's
challenge, its transcript hashes to its response hash, the checker run anew says what it said, and its tokens are
possible for its bytes. ``90`` leaves are opened: where 5 % of the leaves cannot be opened truly, one of them is among
those with chance ``1 - 0.95^90 = 0.990``.

**Replay** (statistical; `rules.replay_test`). An honest bundle is tripped with chance at most ``gate_alpha = 1e-3``,
split over the tests. By Ville's inequality that holds whenever one stops, for independent bets against true nulls;
that it holds on endpoints that are noisy, bursty and change while one looks is measured, in ``bench/gate.py``
(figures in ``bench/RESULTS-gate.md``): 1 of 13,000 honest bundles tripped, at -30, 0 and +30 % of the validator's
time to first token and with one to twenty providers, so at most 1 in 2,300 with 95 % confidence; with wealth carried
over 40 epochs each, 3 of 6,400. An honest bundle takes 42 to 56 replays.

What it catches within 100 replays is measured there too, in bundles over twenty providers (over eight): 2x
understatement of latency 1.00 (0.97) after 27 (35) replays on average, 10 points of hidden failures 0.98 (0.95) after
35, 10 points of hidden failed checks 0.98, all answers from elsewhere 1.00 after 7. With two providers or one, evidence
is capped, and a trip takes more than one epoch: wealth is carried. Where a miner has only 25 records of a provider,
10 hidden points are caught with 0.90.

**What cannot be caught, and what is done instead.**

* A fabricator who invents *numbers* needs transcripts for the leaves that will be opened, and cannot know which. If
  it makes none, 90 openings find it. If it makes plausible ones (another model's answers that pass the checks), no
  exact check finds it; on deterministic endpoints the answer test finds it if many are so, or over epochs; on others
  nothing does.
* A perfect fabricator, with true answers and times drawn from the endpoint's true distribution, is indistinguishable
  from a measurement: it then states what is so, and is paid for forecasts that come true, which is what is bought. To
  know that distribution it must measure, or be right by other means.
* Latency understated by less than about 1.4x, and understatement by a miner as much farther from an endpoint than the
  validator (2x by one 30 % farther: caught with 0.2), look like another vantage point. They gain nothing: a score
  comes from forecasts held against what the validator measures, and a false record improves none.
* Failures hidden by retrying until success leave true transcripts. Only the success test sees them.
* Claims more pessimistic than the truth trip nothing; they lose accuracy.

Too little data is a pass *without coverage*; what went wrong on the validator's side is no data.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from providerrank.rules.market_params import MARKET, MarketParams
from providerrank.rules.records import Record
from providerrank.rules.replay_test import COMPLETED, Claimed, Decision, ReplayTest, Test, get_cluster

KEY_BYTES = 8
"""Of a key in a shuffle: two of 10,000 are equal once in 4e11 bundles, and then the lower position comes first."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """An answer that was opened, as the validator found it."""

    response_hash: str
    """Of the answer's text, computed by the validator."""
    text_bytes: int
    check: str
    """What the challenge's checker says of it, run by the validator."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One chosen leaf and everything exact that is known of it."""

    record: Record
    fault: str | None
    """What the wire found: not opened, not in the tree, impossible by itself or outside the epoch. None for nothing."""
    prompt_hash: str
    """Of the challenge of this epoch, cell and index."""
    params_hash: str
    max_tokens: int
    """Pinned by the challenge."""
    transcript: Transcript | None
    """None where the record claims no whole answer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a bundle."""

    gate: int
    """1 or 0."""
    reason: str
    """One sentence; empty when there is nothing to say."""
    covered: bool
    """Whether enough was replayed for the bundle's cells to count."""
    carried: Mapping[Test, float]
    """Log-wealth the hotkey's next bundle starts with; nothing after a trip."""


def compute_openings(params: MarketParams = MARKET) -> int:
    """How many leaves to open, for ``catch_power`` against ``fabricated_share`` of them false."""
    return math.ceil(math.log(1 - params.catch_power) / math.log(1 - params.fabricated_share))


def plan_openings(leaves: int, beacon: bytes, params: MarketParams = MARKET) -> list[int]:
    """Which leaves to open: an unpredictable choice without repetition, the same for everyone who knows the beacon."""
    return sorted(_shuffle(leaves, beacon, b"open")[: compute_openings(params)])


def plan_replays(
    records: Sequence[Record], beacon: bytes, params: MarketParams = MARKET, claimed: Claimed | None = None
) -> list[int]:
    """Which records to replay, in order: round the providers, so that the first few already come from all of them.

    Only records with a whole answer have something to compare; failures count by their number. Where a miner admits
    many failures another tells little, so such a provider sits out up to three rounds in four. Returns at most
    ``replays_max`` positions in ``records``; ``claimed`` is their count, where it was made.
    """
    claimed = claimed or Claimed.count(records)
    by_provider: dict[str, list[int]] = {}
    named: dict[str, str] = {}
    for i in _shuffle(len(records), beacon, b"replay"):
        if records[i].status in COMPLETED:
            cell = records[i].cell
            provider = named.get(cell.endpoint_id) or named.setdefault(cell.endpoint_id, get_cluster(cell))
            queue = by_provider.setdefault(provider, [])
            if len(queue) < params.replays_max:
                queue.append(i)
    turns: list[tuple[int, int, int]] = []
    for provider, queue in by_provider.items():
        admitted = max(claimed.failure[provider], claimed.violation[provider])
        share = max(params.telling_share_min, min(1.0, params.telling_failures / admitted))
        turns += [(int(turn / share), order, i) for turn, (order, i) in enumerate((len(turns), i) for i in queue)]
    return [i for _, _, i in sorted(turns)][: params.replays_max]


def find_leaf_fault(opened: Opened, params: MarketParams = MARKET) -> str | None:
    """Say what is untrue of an opened leaf; None when nothing is."""
    record = opened.record
    if opened.fault is not None:
        return opened.fault
    if record.prompt_hash != opened.prompt_hash:
        return "the prompt is not this epoch's challenge"
    if record.params_hash != opened.params_hash:
        return "the parameters are not the challenge's"
    if record.tokens_out is not None and record.tokens_out > opened.max_tokens:
        return f"{record.tokens_out} tokens where at most {opened.max_tokens} were asked for"
    if opened.transcript is None:
        return "a whole answer was claimed and none shown" if record.status in COMPLETED else None
    return _find_transcript_fault(record, opened.transcript, params)


def _find_transcript_fault(record: Record, transcript: Transcript, params: MarketParams) -> str | None:
    if transcript.response_hash != record.response_hash:
        return "the answer shown is not the one that was hashed"
    if transcript.check != record.check:
        return f"its check says {transcript.check!r}, not {record.check!r}"
    if record.tokens_out is not None and transcript.text_bytes > record.tokens_out * params.token_bytes_max:
        return f"{transcript.text_bytes} bytes cannot be {record.tokens_out} tokens"
    return None


def judge(
    bundle_fault: str | None, opened: Sequence[Opened], test: ReplayTest, params: MarketParams = MARKET
) -> Verdict:
    """The verdict on a bundle, from the wire's finding, the opened leaves and the replays so far."""
    if bundle_fault is not None:
        return Verdict(0, f"The bundle is not valid: {bundle_fault}.", covered=False, carried={})
    for leaf in opened:
        fault = find_leaf_fault(leaf, params)
        if fault is not None:
            cell = leaf.record.cell
            where = f"{cell.endpoint_id} {cell.task} #{leaf.record.index}"
            return Verdict(0, f"The record of {where} is not true: {fault}.", covered=False, carried={})
    if test.decide() is Decision.TRIP:
        tripped = ", ".join(str(name) for name in test.get_tripped())
        reason = f"Replays contradict its {tripped} claims ({test.replays} replays)."
        return Verdict(0, reason, covered=False, carried={})
    covered = test.replays >= params.replays_min
    reason = "" if covered else f"Passed unverified: {test.replays} replays of {params.replays_min} needed."
    return Verdict(1, reason, covered=covered, carried=test.get_carried())


def _shuffle(count: int, beacon: bytes, purpose: bytes) -> list[int]:
    """Put ``0 .. count - 1`` in an order that only the beacon tells: by one 8-byte key each, from SHAKE-256."""
    stream = hashlib.shake_256(b"%b\0%b" % (purpose, beacon)).digest(KEY_BYTES * count)
    keys = struct.unpack(f">{count}Q", stream)
    return sorted(range(count), key=keys.__getitem__)  # of equal keys the lower position, as sorting is stable
