"""Keys with names: what they may ask for, what they are charged, and what they are told when a budget is out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from providerrank.engines.ledger_file import LedgerFile
from providerrank.engines.ledger_memory import MemoryAccount, MemoryLedger
from providerrank.gateway.keys import Key
from providerrank.gateway.ports import LedgerLost
from providerrank.gateway.settings import BuyerKey, Clocks
from providerrank.rules.budget import Budget, Standing
from providerrank.rules.catalog import Buyer, ModelRules, Tier
from providerrank.rules.cells import ASSUMED_FEATURES, Price
from providerrank.sim.faults import Fault, Play
from tests.integration.gateway_bed import (
    CHAT,
    PREFILL,
    SCHEMA,
    STREAM,
    Answer,
    Bed,
    Seller,
    assert_whole,
    bed,
    get,
    post,
    until,
)

PATIENT = Clocks(first_token_us=5_000_000, idle_us=500_000)


def buyer(name: str = "team", **settings: Any) -> BuyerKey:
    """``sk-NAME``; limits by their names, spend in nano-USD."""
    budget = Budget(
        **{limit: settings.pop(limit, None) for limit in ("requests_per_minute", "tokens_per_minute")},
        spend_per_day_nusd=settings.pop("spend", None),
    )
    return BuyerKey(name, f"sk-{name}", budget=budget, **settings)


def auth(name: str = "team") -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{name}"}


def get_key(it: Bed, name: str = "team") -> Key:
    assert it.gateway.door.keyring is not None
    return it.gateway.door.keyring.keys[name]


def read(it: Bed, name: str = "team") -> Standing:
    return get_key(it, name).read()


def limit(body: dict[str, Any], tokens: int) -> dict[str, Any]:
    return {**body, "max_tokens": tokens}


# ---- who calls -------------------------------------------------------------------------------------------------------


async def test_with_a_named_key_alone_nobody_else_may_call() -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(),)) as it:
        assert (await it.ask(CHAT)).status == 401
        assert (await it.ask(CHAT, headers=auth("other"))).status == 401
        assert_whole(await it.ask(CHAT, headers=auth()), CHAT)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sk-team"},
        {"Authorization": "bearer sk-team"},
        {"Authorization": "Bearer   sk-team "},
        {"x-api-key": "sk-team"},
        {"Authorization": "Bearer wrong", "x-api-key": "sk-team"},
    ],
)
async def test_however_the_key_is_shown_its_limits_hold(headers: dict[str, str]) -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(requests_per_minute=1),), keys=("sk-free",)) as it:
        assert (await it.ask(CHAT, headers=headers)).status == 200
        assert (await it.ask(CHAT, headers=headers)).status == 429
        assert (await it.ask(CHAT, headers=auth("free"))).status == 200


async def test_a_key_without_a_name_stays_without_limits_or_accounts() -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(requests_per_minute=1),), keys=("sk-free",)) as it:
        for _ in range(3):
            answer = await it.ask(CHAT, headers=auth("free"))
            assert answer.status == 200
            assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
        assert it.gateway.stats.key_requests == {}


# ---- what it may ask for ---------------------------------------------------------------------------------------------


def two_models() -> tuple[Seller, Seller]:
    return Seller("a"), Seller("b", model="other")


async def test_a_model_of_others_is_403() -> None:
    async with bed(*two_models(), buyer_keys=(buyer(models=frozenset({"m"})),)) as it:
        assert (await it.ask(CHAT, headers=auth())).status == 200
        answer = await it.ask({**CHAT, "model": "other"}, headers=auth())
        assert answer.status == 403
        assert answer.error == {
            "message": "Key 'team' does not have access to model 'other'; it has access to m.",
            "type": "permission_error",
            "param": "model",
            "code": "model_not_found",
        }
        answer = await it.ask({**CHAT, "model": "nowhere"}, headers=auth())
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert "other" not in answer.error["message"]
        assert it.gateway.stats.key_requests == {("team", "2xx"): 1, ("team", "4xx"): 2}


async def test_it_lists_the_models_it_may_use() -> None:
    async with bed(*two_models(), buyer_keys=(buyer(models=frozenset({"m"})), buyer("all"))) as it:
        for name, models in (("team", ["m"]), ("all", ["m", "other"])):
            answer = await it.fetch(get("/v1/models", auth(name)))
            assert sorted(one["id"] for one in answer.json()["data"]) == models
        assert (await it.fetch(get("/v1/models/m", auth()))).status == 200
        answer = await it.fetch(get("/v1/models/other", auth()))
        assert answer.status == 404
        assert "known models: m." in answer.error["message"]
        assert (await it.fetch(get("/v1/models/other", auth("all")))).status == 200


async def test_an_alias_is_its_model() -> None:
    models = (ModelRules("m", aliases=("default",)),)
    async with bed(*two_models(), models=models, buyer_keys=(buyer(models=frozenset({"m"})),)) as it:
        assert (await it.ask({**CHAT, "model": "default"}, headers=auth())).status == 200


async def test_fallbacks_stay_within_its_models() -> None:
    models = (ModelRules("m", fallback_models=("other",)),)
    keys = (buyer(models=frozenset({"m"})), buyer("all"))
    async with bed(*two_models(), models=models, buyer_keys=keys) as it:
        it.sims["a"].script([Fault.STATUS_503] * 9)
        answer = await it.ask(CHAT, headers=auth())
        assert answer.status == 502
        assert [one for one, _ in it.outcomes] == ["a"]
        answer = await it.ask({**CHAT, "models": ["other"]}, headers=auth())
        assert answer.status in (502, 503)
        assert "b" not in [one for one, _ in it.outcomes]
        assert (await it.ask(CHAT, headers=auth("all"))).endpoint == "b"


async def test_tiers() -> None:
    tiers = (Tier("high"), Tier("best-effort"))
    keys = (buyer(tiers=("best-effort",)), buyer("all"))
    async with bed(Seller("a"), tiers=tiers, buyer_keys=keys) as it:
        assert (await it.ask(CHAT, headers=auth())).status == 200
        assert (await it.ask(CHAT, headers={**auth(), "x-providerrank-tier": "best-effort"})).status == 200
        answer = await it.ask(CHAT, headers={**auth(), "x-providerrank-tier": "high"})
        assert answer.status == 403
        assert answer.error["code"] == "tier_not_allowed"
        assert answer.error["message"] == "Key 'team' may not use tier 'high'; it may use best-effort."
        assert (await it.ask(CHAT, headers={**auth("all"), "x-providerrank-tier": "high"})).status == 200


async def test_a_request_without_a_tier_is_of_the_keys_first() -> None:
    tiers = (Tier("cheap", price_cap_factor=0.5),)
    cap = Buyer(price_cap=Price.from_usd(2, 2), exploration=0.0)
    async with bed(Seller("a", price=1.5), tiers=tiers, buyer=cap, buyer_keys=(buyer(tiers=("cheap",)),)) as it:
        answer = await it.ask(CHAT, headers=auth())
        assert (answer.status, answer.error["code"]) == (400, "no_endpoint_fits")


@pytest.mark.parametrize(("own", "endpoint"), [(None, "dear"), (1.0, "cheap"), (9.0, "dear")])
async def test_the_lowest_price_cap_holds(own: float | None, endpoint: str) -> None:
    sellers = Seller("dear", price=2.0), Seller("cheap", price=0.5), Seller("gold", price=5.0)
    cap = None if own is None else Price.from_usd(own, own)
    wide = Buyer(price_cap=Price.from_usd(3, 3), exploration=0.0)
    async with bed(*sellers, buyer=wide, buyer_keys=(buyer(price_cap=cap),)) as it:
        assert (await it.ask(CHAT, headers=auth())).endpoint == endpoint
        it.sims["dear"].script([Fault.STATUS_503])
        it.sims["cheap"].script([Fault.STATUS_503] * 2)
        await it.ask(CHAT, headers=auth())
        assert "gold" not in [name for name, _ in it.outcomes]


async def test_a_price_cap_below_every_price() -> None:
    async with bed(Seller("a", price=2.0), buyer_keys=(buyer(price_cap=Price.from_usd(1, 1)),)) as it:
        answer = await it.ask(CHAT, headers=auth())
        assert (answer.status, answer.error["code"]) == (400, "no_endpoint_fits")
        assert "price_cap excludes 1" in answer.error["message"]


# ---- minutes ---------------------------------------------------------------------------------------------------------


def check_retry_after(answer: Answer, least: int, most: int) -> None:
    assert least <= int(answer.headers["retry-after"]) <= most


async def test_requests_a_minute() -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(requests_per_minute=2),)) as it:
        for left in (1, 0):
            answer = await it.ask(CHAT, headers=auth())
            assert answer.headers["x-ratelimit-limit-requests"] == "2"
            assert answer.headers["x-ratelimit-remaining-requests"] == str(left)
            assert answer.headers["x-ratelimit-reset-requests"] == "1m0s"
            assert "x-ratelimit-limit-tokens" not in answer.headers
        answer = await it.ask(STREAM, headers=auth())
        assert answer.status == 429
        check_retry_after(answer, 55, 60)
        assert answer.error["code"] == "rate_limit_exceeded"
        assert answer.error["type"] == "rate_limit_error"
        assert answer.error["message"].startswith(
            "Rate limit of key 'team' reached: 2 of 2 requests_per_minute are used. Try again in "
        )
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert "x-should-retry" not in answer.headers
        assert answer.headers["x-request-id"]
        assert len(it.outcomes) == 2, "nobody was asked"
        assert it.gateway.stats.key_requests == {("team", "2xx"): 2, ("team", "4xx"): 1}


async def test_tokens_a_minute_are_set_aside_and_given_back() -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(tokens_per_minute=500),)) as it:
        answer = await it.ask(limit(CHAT, 400), headers=auth())
        left = int(answer.headers["x-ratelimit-remaining-tokens"])
        assert 50 < left < 100
        used = read(it)
        assert 0 < used.minute_tokens < 100
        assert used.minute_tokens == used.input_tokens + used.output_tokens
        assert (await it.ask(limit(STREAM, 350), headers=auth())).status == 200
        answer = await it.ask(limit(CHAT, 440), headers=auth())
        assert answer.status == 429
        check_retry_after(answer, 50, 60)
        assert "tokens_per_minute are used, and this request may take" in answer.error["message"]


async def test_more_tokens_than_a_minute_has_is_not_worth_a_retry() -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(tokens_per_minute=500),)) as it:
        answer = await it.ask(limit(CHAT, 600), headers=auth())
        assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers
        assert "lower max_tokens" in answer.error["message"]


async def test_without_a_limit_the_expected_output_is_set_aside() -> None:
    keys = (buyer(tokens_per_minute=500, expected_output_tokens=450), buyer("long", tokens_per_minute=500))
    async with bed(Seller("a"), buyer_keys=keys) as it:
        assert (await it.ask(CHAT, headers=auth())).status == 200
        assert (await it.ask(CHAT, headers=auth("long"))).status == 429


async def test_a_request_that_cannot_be_read_or_routed_costs_nothing() -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(requests_per_minute=1),)) as it:
        assert (await it.fetch(post(b"{", headers=auth()))).status == 400
        assert (await it.ask({**CHAT, "model": "nowhere"}, headers=auth())).status == 404
        assert (await it.ask(CHAT, headers=auth())).status == 200
        assert it.gateway.stats.key_requests == {("team", "4xx"): 2, ("team", "2xx"): 1}


# ---- days ------------------------------------------------------------------------------------------------------------


async def test_what_is_spent_is_what_endpoints_bill() -> None:
    async with bed(Seller("a", price=3.0), Seller("b", price=7.0), buyer_keys=(buyer(),)) as it:
        answer = await it.ask(CHAT, headers=auth())
        await it.ask(STREAM, headers=auth())
        used = answer.usages[0]
        it.sims["a"].script([Fault.STATUS_500])
        assert (await it.ask(CHAT, headers=auth())).endpoint == "b"
        tokens = used["prompt_tokens"] + used["completion_tokens"]
        assert read(it).spent_nusd == tokens * (3_000 * 2 + 7_000)
        assert read(it).held_nusd == 0
        stats = it.gateway.stats
        assert stats.key_cost_nusd == {("team", "a/m"): tokens * 6_000, ("team", "b/m"): tokens * 7_000}
        assert stats.key_cost_nusd == {("team", f"{name}/m"): stats.cost_nusd[f"{name}/m"] for name in "ab"}
        assert stats.key_tokens["team", "a/m", "input"] == 2 * used["prompt_tokens"]
        assert stats.key_tokens["team", "b/m", "output"] == used["completion_tokens"]


async def test_a_spent_day() -> None:
    async with bed(Seller("a", price=1.0), buyer_keys=(buyer(spend=400_000),)) as it:
        answer = Answer(status=200)
        while answer.status == 200:
            answer = await it.ask(limit(CHAT, 100), headers=auth())
        assert answer.status == 429
        assert answer.error["code"] == "insufficient_quota"
        assert answer.headers["x-should-retry"] == "false"
        midnight = 86_400 - time.time() % 86_400
        check_retry_after(answer, int(midnight) - 2, int(midnight) + 3)
        assert answer.error["message"].startswith("Key 'team' has $0.000")
        assert "of its $0.0004 for today charged, and this request may cost $0.00" in answer.error["message"]
        assert "the budget is renewed at " in answer.error["message"]
        assert read(it).spent_nusd <= 400_000


async def test_one_request_dearer_than_the_day() -> None:
    async with bed(Seller("a", price=1.0), buyer_keys=(buyer(spend=1_000),)) as it:
        answer = await it.ask(limit(CHAT, 100), headers=auth())
        assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers


async def test_the_dearest_endpoint_is_what_is_set_aside() -> None:
    """A cheap endpoint comes first, but a dear one may have to answer."""
    async with bed(Seller("a", price=0.001), Seller("b", price=10.0), buyer_keys=(buyer(spend=1_000_000),)) as it:
        answer = await it.ask(limit(CHAT, 100), headers=auth())
        assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
        only = {**limit(CHAT, 100), "provider": {"only": ["a"]}}
        assert (await it.ask(only, headers=auth())).status == 200


async def test_budgets_that_requests_under_way_hold_are_worth_a_retry() -> None:
    async with bed(Seller("a", price=1.0), clocks=PATIENT, buyer_keys=(buyer(spend=200_000),)) as it:
        it.sims["a"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.3)])
        first = asyncio.create_task(it.ask(limit(CHAT, 100), headers=auth()))
        await until(lambda: read(it).held_nusd > 0)
        answer = await it.ask(limit(CHAT, 100), headers=auth())
        assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "1"
        assert "x-should-retry" not in answer.headers
        assert "set aside for requests under way" in answer.error["message"]
        await first
        assert read(it).held_nusd == 0


async def test_many_at_once_never_overspend() -> None:
    """Each may cost 30 % of the budget, and costs far less: none is let past it, all that fit are served."""
    async with bed(Seller("a", price=1.0), buyer_keys=(buyer(spend=400_000, requests_per_minute=50),)) as it:
        answers = await asyncio.gather(*(it.ask(limit(CHAT, 100), headers=auth()) for _ in range(40)))
        served = [one for one in answers if one.status == 200]
        assert served
        assert len(served) < 40
        assert {one.status for one in answers} == {200, 429}
        billed = sum(sum(one.usages[0][side] for side in ("prompt_tokens", "completion_tokens")) for one in served)
        assert read(it).spent_nusd == billed * 1_000 <= 400_000
        assert read(it).requests == len(served)


# ---- every way a request ends ----------------------------------------------------------------------------------------


async def settled(it: Bed) -> Standing:
    await until(lambda: not it.gateway._exchanges)
    standing = read(it)
    assert standing.held_nusd == 0
    return standing


async def test_a_request_nobody_could_serve_costs_nothing() -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(),)) as it:
        it.sims["a"].script([Fault.STATUS_401] * 3)
        assert (await it.ask(CHAT, headers=auth())).status == 502
        standing = await settled(it)
        assert (standing.spent_nusd, standing.requests) == (0, 1)
        assert it.gateway.stats.key_requests == {("team", "5xx"): 1}


async def test_a_stream_continued_elsewhere_costs_both() -> None:
    sellers = Seller("a", features=PREFILL), Seller("b", price=2.0, features=PREFILL)
    async with bed(*sellers, clocks=PATIENT, buyer_keys=(buyer(),)) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        answer = await it.ask(STREAM, headers=auth())
        assert_whole(answer, STREAM)
        assert it.gateway.stats.continuations == 1
        cost = it.gateway.stats.key_cost_nusd
        assert cost["team", "a/m"] > 0
        assert cost["team", "b/m"] > 0
        assert (await settled(it)).spent_nusd == sum(cost.values())


async def test_an_answer_that_breaks_its_schema_is_billed_too() -> None:
    async with bed(Seller("a"), Seller("b"), buyer_keys=(buyer(),)) as it:
        it.sims["a"].script([Fault.SCHEMA_VIOLATION])
        assert (await it.ask({**CHAT, **SCHEMA}, headers=auth())).endpoint == "b"
        assert set(it.gateway.stats.key_cost_nusd) == {("team", "a/m"), ("team", "b/m")}
        assert (await settled(it)).spent_nusd == sum(it.gateway.stats.key_cost_nusd.values())


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_client_that_leaves_pays_for_what_was_under_way(body: dict[str, Any]) -> None:
    async with bed(Seller("a"), clocks=PATIENT, buyer_keys=(buyer(),)) as it:
        it.sims["a"].script([Fault.STALL_MID_STREAM if body is STREAM else Fault.HANG_BEFORE_HEAD])
        async with it.wire() as wire:
            wire.send(post(body, headers=auth()))
            if body is STREAM:
                await wire.read()
            await until(lambda: it.gateway._exchanges and any(s.log for s in [it.sims["a"]]))
        standing = await settled(it)
        assert 0 < standing.spent_nusd < 100_000
        assert standing.spent_nusd == it.gateway.stats.key_cost_nusd["team", "a/m"]
        assert it.gateway.stats.key_requests == {("team", "cancelled"): 1}
        assert (standing.output_tokens > 0) is (body is STREAM)


async def test_a_crash_of_ours_gives_back_what_was_held(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(),)) as it:

        def fail(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr(it.gateway.router, "observe", fail)
        assert (await it.ask(CHAT, headers=auth())).status == 500
        monkeypatch.undo()
        await settled(it)
        assert it.gateway.stats.key_requests == {("team", "5xx"): 1}
        # What the crash left counted as in flight is not this test's.
        for state in it.gateway.router._endpoints.values():
            state.in_flight = 0
        for stats in it.gateway.stats.endpoints.values():
            stats.in_flight = 0


# ---- every API -------------------------------------------------------------------------------------------------------

ASKS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"model": "m", "prompt": "Once upon a time [[tokens=24]]", "max_tokens": 50}),
    ("/v1/messages", {"model": "m", "max_tokens": 50, "messages": CHAT["messages"]}),
    ("/v1/messages", {"model": "m", "max_tokens": 50, "messages": CHAT["messages"], "stream": True}),
    ("/v1/responses", {"model": "m", "max_output_tokens": 50, "input": "Say something. [[tokens=24]]"}),
    ("/v1/responses", {"model": "m", "max_output_tokens": 50, "input": "Say something.", "stream": True}),
    ("/v1/embeddings", {"model": "m", "input": ["one", "two"]}),
]


@pytest.mark.parametrize(("path", "body"), ASKS)
async def test_whatever_the_api_it_is_charged_and_limited(path: str, body: dict[str, Any]) -> None:
    async with bed(Seller("a", price=1.0), buyer_keys=(buyer(requests_per_minute=1),)) as it:
        answer = await it.ask(body, path, auth())
        assert answer.status == 200, answer.body
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        standing = await settled(it)
        assert standing.input_tokens > 0
        assert (standing.output_tokens > 0) is (path != "/v1/embeddings")
        assert standing.spent_nusd == 1_000 * (standing.input_tokens + standing.output_tokens)
        refused = await it.ask(body, path, auth())
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 0
        error = refused.json()["error"]
        assert error["type"] == "rate_limit_error"
        assert error["message"].startswith("Rate limit of key 'team' reached")


async def test_embeddings_set_nothing_aside_for_an_answer() -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(tokens_per_minute=100),)) as it:
        assert (await it.ask({"model": "m", "input": ["one", "two"]}, "/v1/embeddings", auth())).status == 200


# ---- other settings --------------------------------------------------------------------------------------------------


async def test_accounts_outlast_a_reload_and_limits_follow_it() -> None:
    async with bed(Seller("a"), buyer_keys=(buyer(requests_per_minute=2), buyer("old"))) as it:
        settings = it.gateway.settings
        assert (await it.ask(CHAT, headers=auth())).status == 200
        spent = read(it).spent_nusd
        async with it.wire() as wire:
            it.sims["a"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.2)])
            wire.send(post(CHAT, headers=auth()))
            await until(lambda: it.gateway._exchanges)
            # The secret is renewed, the limit raised, one key goes and one comes.
            renewed = replace(buyer(requests_per_minute=3), secret="sk-renewed")
            it.gateway.reconfigure(replace(settings, buyer_keys=(renewed, buyer("new"))))
            assert (await wire.answer()).status == 200
        await settled(it)
        assert read(it).spent_nusd > spent > 0
        assert read(it).minute_requests == 2
        for name, status in (("team", 401), ("old", 401), ("new", 200), ("renewed", 200), ("renewed", 429)):
            assert (await it.ask(CHAT, headers=auth(name))).status == status
        assert it.gateway.stats.key_requests["team", "2xx"] == 3


async def test_a_reload_without_its_ledger_changes_nothing(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path / "x.budgets")
    async with bed(Seller("a"), keys=("sk-free",), ledger=ledger) as it:
        ledger.close()
        settings = it.gateway.settings
        with pytest.raises(LedgerLost):
            it.gateway.reconfigure(replace(settings, keys=(), buyer_keys=(buyer(),)))
        it.gateway.ledger = None
        with pytest.raises(LedgerLost, match="need a ledger"):
            it.gateway.reconfigure(replace(settings, keys=(), buyer_keys=(buyer(),)))
        assert it.gateway.settings is settings
        assert (await it.ask(CHAT, headers=auth("free"))).status == 200


# ---- the ledger ------------------------------------------------------------------------------------------------------


async def test_a_budget_outlasts_the_gateway(tmp_path: Path) -> None:
    keys = (buyer(requests_per_minute=3, spend=1_000_000_000),)
    spent = []
    for status in (200, 200, 200, 429):
        ledger = LedgerFile(tmp_path / "x.budgets")
        async with bed(Seller("a"), buyer_keys=keys, ledger=ledger) as it:
            assert (await it.ask(CHAT, headers=auth())).status == status
            spent.append(read(it).spent_nusd)
        ledger.close()
    assert 0 < spent[0] < spent[1] < spent[2] == spent[3]


async def test_a_ledger_that_fails_waives_no_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = LedgerFile(tmp_path / "x.budgets")
    async with bed(Seller("a"), buyer_keys=(buyer(),), keys=("sk-free",), ledger=ledger) as it:
        ledger.close()
        answer = await it.ask(CHAT, headers=auth())
        assert (answer.status, answer.error["code"]) == (503, "budget_unavailable")
        assert (await it.ask(CHAT, headers=auth())).status == 503
        assert caplog.text.count("budget unknown: key=team") == 1, "once a minute"
        assert (await it.ask(CHAT, headers=auth("free"))).status == 200


async def test_an_answer_is_not_held_up_by_a_ledger_that_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = LedgerFile(tmp_path / "x.budgets")
    async with bed(Seller("a"), clocks=PATIENT, buyer_keys=(buyer(),), ledger=ledger) as it:
        it.sims["a"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.2)])
        asking = asyncio.create_task(it.ask(CHAT, headers=auth()))
        await until(lambda: it.gateway._exchanges)
        ledger.close()
        await asking
        assert "not settled, stays charged in full: key=team" in caplog.text


def test_the_memory_ledger_is_its_own_restart() -> None:
    ledger = MemoryLedger()
    account: MemoryAccount = ledger.open("a")
    ledger.close()
    assert ledger.open("a") is account
    assert ASSUMED_FEATURES < PREFILL
