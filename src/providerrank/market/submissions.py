"""An epoch's submissions as a validator finds them: fetched, read, held to what was committed, opened.

Nothing a miner sends stops a validator. What is wrong with a bundle becomes a code and costs its sender this epoch;
what is untrue in it is the gate's to find.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from providerrank.market.asking import Checker
from providerrank.market.neurons import Neurons, NotShown, Unreachable
from providerrank.market.ports import Commitment, Metagraph, Neuron
from providerrank.rules.cells import CODE
from providerrank.rules.challenge import compute_challenge
from providerrank.rules.consistency import Window
from providerrank.rules.gate import Opened, Transcript, plan_openings
from providerrank.rules.market_params import MarketParams
from providerrank.rules.params import ChallengeParams
from providerrank.rules.records import CHECK_NONE, Record
from providerrank.rules.replay_test import COMPLETED
from providerrank.wire.bundle import SALT_BYTES, Bundle, Expected, compute_commitment, read_bundle
from providerrank.wire.bundle_errors import BundleRefused
from providerrank.wire.opening import OpeningRefused, decode_opening, hash_body, hash_params, verify_opening

logger = logging.getLogger("providerrank.validator")

FETCHED_AT_ONCE: Final = 8
"""Bundles: each may be 64 MB."""
NOT_COMMITTED: Final = "not-committed"
"""Its header and salt do not give the hash that was committed to."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What one miner handed in; without a bundle, ``code`` says why."""

    neuron: Neuron
    commitment: Commitment
    bundle: Bundle | None
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What bundles of an epoch are held to."""

    netuid: int
    epoch: int
    window: Window


async def fetch_submissions(
    neurons: Neurons, metagraph: Metagraph, commitments: Sequence[Commitment], reading: Reading
) -> list[Submission]:
    """Fetch and read what was revealed, in the order it was committed; who revealed nothing is left out."""
    turns = asyncio.Semaphore(FETCHED_AT_ONCE)

    async def fetch(commitment: Commitment) -> Submission | None:
        neuron = metagraph.find(commitment.hotkey)
        if commitment.opening is None or neuron is None:
            return None
        async with turns:
            return await _fetch(neurons, neuron, commitment, commitment.opening, reading)

    found = await asyncio.gather(*map(fetch, commitments))
    return [one for one in found if one is not None]


async def _fetch(neurons: Neurons, neuron: Neuron, commitment: Commitment, salt: bytes, reading: Reading) -> Submission:
    expected = Expected(reading.netuid, reading.epoch, commitment.hotkey, reading.window)
    try:
        data = await neurons.fetch_bundle(neuron, reading.epoch)
        # On a thread: a large one takes seconds, and replays are being timed on this loop.
        bundle = await asyncio.to_thread(read_bundle, (data,), expected)
    except NotShown as error:
        return Submission(neuron, commitment, None, error.code, f"{error}.")
    except BundleRefused as error:
        return Submission(neuron, commitment, None, error.code, str(error))
    if len(salt) != SALT_BYTES or compute_commitment(bundle.header, salt) != commitment.digest:
        return Submission(neuron, commitment, None, NOT_COMMITTED, "this is not the bundle that was committed to.")
    return Submission(neuron, commitment, bundle)


def is_own_network(submissions: Sequence[Submission]) -> bool:
    """Whether not one of several miners could be reached: then it is more likely we than they."""
    return len(submissions) > 1 and all(one.code == Unreachable.code for one in submissions)


@dataclass(frozen=True, slots=True)
class Inspector:
    """Opens leaves of bundles and holds them to the epoch's challenges."""

    neurons: Neurons
    checker: Checker
    epoch: int
    challenge_beacon: bytes
    sample_beacon: bytes
    challenge: ChallengeParams
    params: MarketParams

    def compute_beacon(self, hotkey: str) -> bytes:
        """What picks this miner's leaves and replays: another for each, none of them foreseeable."""
        return hashlib.sha256(self.sample_beacon + hotkey.encode()).digest()

    async def open(self, submission: Submission) -> list[Opened]:
        """Have the picked leaves opened. Raises ``NotShown`` where the miner shows nothing at all."""
        bundle = submission.bundle
        assert bundle is not None
        leaves = plan_openings(bundle.header.records, self.compute_beacon(submission.neuron.hotkey), self.params)
        if not leaves:
            return []
        shown = await self.neurons.fetch_openings(submission.neuron, self.epoch, leaves)
        by_leaf: dict[int, bytes] = {}
        for data in shown:
            try:
                by_leaf.setdefault(decode_opening(data).index, data)
            except OpeningRefused:
                continue
        return [await self._open(bundle, leaf, by_leaf.get(leaf)) for leaf in leaves]

    async def _open(self, bundle: Bundle, leaf: int, data: bytes | None) -> Opened:
        record = bundle.contents.records[leaf]
        # A turn of the loop for each: what is timed meanwhile must not wait for sixty challenges.
        challenge = await asyncio.to_thread(
            compute_challenge, self.challenge_beacon, record.cell, record.index, self.challenge
        )
        fault, transcript = "it was not opened", None
        if data is not None:
            try:
                opening = decode_opening(data)
                verify_opening(opening, bundle.header)
            except OpeningRefused as error:
                fault = str(error).removesuffix(".")
            else:
                fault = ""
                if record.status in COMPLETED:
                    check = await self.checker.check(challenge, opening.answer)
                    if check is None or record.cell.task == CODE:
                        # What code does depends on the machine it runs on: no two need agree, and nobody lied.
                        check = record.check
                    size = len(opening.answer.text.encode("utf-8", "replace"))
                    transcript = Transcript(record.response_hash, size, check)
                elif record.check != CHECK_NONE:
                    fault = "a check of an answer that did not come"
        return Opened(
            record=record,
            fault=fault or None,
            prompt_hash=hash_body(challenge.body),
            params_hash=hash_params(challenge.pinned),
            max_tokens=challenge.pinned.max_tokens,
            transcript=transcript,
        )


def count_by_cell(records: Sequence[Record]) -> dict[object, list[Record]]:
    """Records of each cell."""
    by_cell: dict[object, list[Record]] = {}
    for record in records:
        by_cell.setdefault(record.cell, []).append(record)
    return by_cell
