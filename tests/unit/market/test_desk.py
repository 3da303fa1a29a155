"""Whom a miner answers, and what."""

from __future__ import annotations

import json

import pytest

from providerrank.market.desk import MAX_BODY, Reply, Request, write_leaves
from providerrank.wire.auth import sign_request
from providerrank.wire.bundle import read_bundle
from providerrank.wire.opening import decode_opening, verify_opening
from tests.chains import STAKE, get_address, make_key
from tests.market_bed import Bed, make_bed


async def ask(bed: Bed, who: str, method: str, target: str, body: bytes = b"", *, signed: bool = True) -> Reply:
    bed.time.at_us += 1
    headers = {}
    if signed:
        headers = sign_request(
            make_key(who),
            method=method,
            target=target,
            body=body,
            receiver=get_address("miner"),
            nonce_ns=bed.time.now_us() * 1_000,
        )
    return await bed.neurons.desks[get_address("miner")].answer(Request(method, target, headers, body))


async def make_served_bed() -> Bed:
    bed = make_bed()
    miner = await bed.make_miner()
    await miner.run_epoch(await bed.connect("miner").head())
    return bed


def get_code(reply: Reply) -> str:
    return str(json.loads(reply.body)["error"]["code"])


async def test_a_validator_gets_bundle_and_openings_that_fit() -> None:
    bed = await make_served_bed()
    reply = await ask(bed, "validator", "GET", "/v1/bundles/0")
    bundle = read_bundle([reply.body])
    shown = await ask(bed, "validator", "POST", "/v1/bundles/0/openings", write_leaves([0, 3]))
    openings = [decode_opening(line) for line in shown.body.splitlines()]
    assert [opening.index for opening in openings] == [0, 3]
    assert [verify_opening(opening, bundle.header) for opening in openings] == [
        bundle.contents.records[0],
        bundle.contents.records[3],
    ]


async def test_who_has_no_permit_or_no_stake_is_not_served() -> None:
    bed = await make_served_bed()
    stranger = await ask(bed, "stranger", "GET", "/v1/bundles/0")
    other_miner = await ask(bed, "miner", "GET", "/v1/bundles/0")
    assert (stranger.status, get_code(stranger)) == (403, "no-permit")
    assert other_miner.status == 403
    unsigned = await ask(bed, "validator", "GET", "/v1/bundles/0", signed=False)
    assert (unsigned.status, get_code(unsigned)) == (401, "not-signed")
    # Stake alone is no permit: that is given at an epoch's end.
    rich = bed.connect("miner")
    await rich.fund(2 * STAKE)
    await rich.move_stake(2 * STAKE)
    assert get_code(await ask(bed, "miner", "GET", "/v1/bundles/0")) == "no-permit"
    chain = bed.connect("validator")
    await chain.move_stake(-(await chain.balance())[1])
    assert (await ask(bed, "validator", "GET", "/v1/bundles/0")).status == 403


async def test_a_signature_is_good_for_one_request() -> None:
    bed = await make_served_bed()
    headers = sign_request(
        make_key("validator"),
        method="GET",
        target="/v1/bundles/0",
        body=b"",
        receiver=get_address("miner"),
        nonce_ns=bed.time.now_us() * 1_000,
    )
    desk = bed.neurons.desks[get_address("miner")]
    assert (await desk.answer(Request("GET", "/v1/bundles/0", headers))).status == 200
    assert (await desk.answer(Request("GET", "/v1/bundles/0", headers))).status == 401
    assert (await desk.answer(Request("GET", "/v1/bundles/1", headers))).status == 401


async def test_nothing_is_shown_before_it_is_revealed() -> None:
    bed = make_bed()
    await bed.make_miner()
    assert get_code(await ask(bed, "validator", "GET", "/v1/bundles/0")) == "not-revealed"
    assert (await ask(bed, "validator", "POST", "/v1/bundles/0/openings", write_leaves([0]))).status == 404


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/", b"", 404),
        ("GET", "/v1/bundles/x", b"", 404),
        ("GET", "/v1/bundles/99999999999999999999", b"", 404),
        ("POST", "/v1/bundles/0", b"", 404),
        ("POST", "/v1/bundles/0/openings", b"", 400),
        ("POST", "/v1/bundles/0/openings", b'{"leaves":[]}', 400),
        ("POST", "/v1/bundles/0/openings", b'{"leaves":[1,1]}', 400),
        ("POST", "/v1/bundles/0/openings", b'{"leaves":[true]}', 400),
        ("POST", "/v1/bundles/0/openings", b'{"leaves":[1],"more":1}', 400),
        ("POST", "/v1/bundles/0/openings", b'{"leaves":[100000]}', 404),
        ("POST", "/v1/bundles/0/openings", b'{"leaves":[-1]}', 404),
        ("POST", "/v1/bundles/0/openings", b"x" * (MAX_BODY + 1), 413),
    ],
)
async def test_what_makes_no_sense_is_refused(method: str, target: str, body: bytes, status: int) -> None:
    assert (await ask(await make_served_bed(), "validator", method, target, body)).status == status


async def test_a_validator_is_not_served_without_end() -> None:
    bed = await make_served_bed()
    statuses = [(await ask(bed, "validator", "GET", "/v1/bundles/0")).status for _ in range(21)]
    assert statuses == [200] * 20 + [429]
    leaves = write_leaves(list(range(12)))
    statuses = [(await ask(bed, "validator", "POST", "/v1/bundles/0/openings", leaves)).status for _ in range(31)]
    assert statuses[:30] == [200] * 30
    assert statuses[-1] == 429
