"""Endpoints behind TLS: whom the gateway speaks to, and whom it does not."""

from __future__ import annotations

import pytest

from providerrank.rules.catalog import ModelRules
from providerrank.sim.certificates import make_certificate
from providerrank.sim.faults import Fault
from providerrank.sim.spec import EndpointSpec
from tests.integration.gateway_bed import CHAT, STREAM, Body, Seller, assert_whole, bed

BOTH = pytest.mark.parametrize("body", [CHAT, STREAM], ids=["plain", "stream"])


def secure(name: str) -> Seller:
    return Seller(name, spec=EndpointSpec(name=name, tls=True))


@BOTH
async def test_an_endpoint_under_a_known_authority_is_spoken_to(body: Body) -> None:
    certificate = make_certificate()
    async with bed(secure("a"), trust=certificate.client, certificate=certificate.server) as it:
        for _ in range(2):
            assert_whole(await it.ask(body), body)
        assert it.sims["a"].log.connections == 1
        assert it.outcomes == [("a", "SUCCESS")] * 2


@pytest.mark.parametrize("trusts_another", [True, False], ids=["another", "the-systems"])
async def test_an_endpoint_under_an_unknown_authority_is_told_nothing(trusts_another: bool) -> None:
    other = make_certificate().client if trusts_another else None
    async with bed(secure("a"), Seller("b"), trust=other, certificate=make_certificate().server) as it:
        answer = await it.ask(CHAT)
        assert_whole(answer, CHAT)
        assert (answer.attempts, answer.endpoint) == (2, "b")
        assert it.sims["a"].log.requests == 0
        assert it.outcomes == [("a", "FAILURE"), ("b", "SUCCESS")]
        assert it.ended[0][0].detail.startswith("TLS: ")


async def test_a_certificate_for_another_name_is_refused() -> None:
    certificate = make_certificate("example.com")
    async with bed(secure("a"), trust=certificate.client, certificate=certificate.server) as it:
        answer = await it.ask(CHAT)
        assert answer.status == 502
        assert it.sims["a"].log.requests == 0


async def test_a_plain_endpoint_where_tls_is_expected_is_told_nothing() -> None:
    trust = make_certificate().client
    rules = ModelRules("m", pin=("a/m", "c/m"))
    async with bed(Seller("b")) as plain:
        url = f"https://localhost:{plain.sims['b'].port}/v1"
        async with bed(Seller("a", url=url), Seller("c"), models=[rules], trust=trust) as it:
            assert_whole(await it.ask(CHAT), CHAT)
            assert it.outcomes == [("a", "FAILURE"), ("c", "SUCCESS")]
            assert plain.sims["b"].log.requests == 0


@BOTH
@pytest.mark.parametrize("fault", [Fault.RESET_ON_ACCEPT, Fault.CUT_ABORT, Fault.STALE_KEEP_ALIVE, Fault.TLS_GARBAGE])
async def test_faults_under_tls(fault: Fault, body: Body) -> None:
    certificate = make_certificate()
    async with bed(secure("a"), secure("b"), trust=certificate.client, certificate=certificate.server) as it:
        it.sims["a"].script([fault])
        for _ in range(2):
            assert_whole(await it.ask(body), body)
