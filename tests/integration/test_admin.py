"""The admin port over real sockets."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from providerrank.apps.admin.app import OPENAPI_FILE, build_admin
from providerrank.apps.admin.gate import Gate
from providerrank.apps.admin.openapi import render_openapi
from providerrank.apps.admin.page.render import get_asset
from providerrank.apps.admin.reader import AdminReader, RequestNotFoundError
from providerrank.apps.admin.server import AdminServer
from providerrank.apps.admin.usage import KeyReading
from providerrank.apps.reload import Reloaded, ReloadRefused
from providerrank.gateway.ports import LedgerLost
from providerrank.rules.explanation import Explanation
from tests.fake_admin import LLAMA, SLASHED, World, make_finished, make_ranked, make_stats
from tests.unit.apps.test_usage import make_reading

Connect = Callable[[], httpx.AsyncClient]


@pytest.fixture
def world() -> World:
    return World(stats=make_stats())


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    server = AdminServer(build_admin(world.get_sources(), Gate("127.0.0.1", ("sk-one",))), "127.0.0.1", 0)
    await server.start()
    host, port = server.address
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as connected:
        yield connected
    await server.stop()


@pytest.fixture
async def networked(world: World) -> AsyncIterator[httpx.AsyncClient]:
    server = AdminServer(build_admin(world.get_sources(), Gate("0.0.0.0", ("sk-one",))), "0.0.0.0", 0)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.address[1]}") as connected:
        yield connected
    await server.stop()


async def test_health(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": "1.2.3"})


async def test_ready_follows_the_data_plane(client: httpx.AsyncClient, world: World) -> None:
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "because": None})
    world.listening = False
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    world.listening = True
    world.router.tables = {LLAMA: (make_ranked("a/m", 1, "out"),)}
    world.now_us += 2_000_000
    assert (await client.get("/ready")).status_code == 503


async def test_metrics_parse(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {sample.value for sample in families["providerrank_fallbacks"].samples} == {44.0}
    assert "process_resident_memory_bytes" in families


async def test_a_ranking_has_every_endpoint_and_every_part(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/rankings/{LLAMA}")
    assert answer.status_code == 200
    ranking = answer.json()
    assert [row["rank"] for row in ranking["endpoints"]] == [1, 2, 3, 4, None, None]
    assert [row["state"] for row in ranking["endpoints"]] == ["ok", "suspect", "cooling", "out", "excluded", "excluded"]
    first, _, third, *_ = ranking["endpoints"]
    assert first["endpoint"] == "fireworks/llama-3.3-70b"
    assert first["price"] == {"input_usd": 0.9, "output_usd": 0.95, "cached_input_usd": None}
    assert first["ttft_p50_s"] == pytest.approx(0.25, rel=0.02)
    assert first["ttft_p95_s"] == pytest.approx(1.4, rel=0.02)
    assert first["in_flight"] == 3
    assert first["reason"] is None
    assert third["reason"] == "rate-limited for another 12 s"
    assert third["last_failure"] == {"kind": "rate_limited", "at_s": 1_699_999_925.0}
    assert ranking["weights"] == {"reputation": 0.6, "price": 0.4}
    assert ranking["task"] == "chat"


async def test_a_request_is_explained(client: httpx.AsyncClient, world: World) -> None:
    assert world.ring is not None
    world.ring.keep(make_finished("a/b c"))
    answer = await client.get("/v1/explain/a%2Fb%20c")
    assert answer.status_code == 200
    explanation = msgspec.json.decode(answer.content, type=Explanation)
    assert (explanation.request_id, len(explanation.attempts), len(explanation.models)) == ("a/b c", 2, 1)
    assert explanation.summary.startswith("Answered by ")
    latest = (await client.get("/v1/explain")).json()
    assert [(one["request_id"], one["attempts"], one["status"]) for one in latest] == [("a/b c", 2, 200)]


async def test_a_request_explained_for_people(client: httpx.AsyncClient, world: World) -> None:
    assert world.ring is not None
    world.ring.keep(make_finished("a/b c"))
    assert 'href="/explain/a%2Fb%20c"' in (await client.get("/")).text
    assert 'href="/explain/a%2Fb%20c"' in (await client.get("/page/live")).text
    for path in ("/explain/a%2Fb%20c", "/explain?id=a/b+c"):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "Request a/b c" in answer.text
    for path in ("/explain/nope", "/explain?id=nope"):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert "No request &#x27;nope&#x27; is remembered" in answer.text
    assert (await client.get("/explain")).status_code == 400


async def test_the_latest_are_read_at_most_once_a_second(client: httpx.AsyncClient, world: World) -> None:
    assert world.ring is not None
    assert (await client.get("/v1/explain")).json() == []
    world.ring.keep(make_finished())
    world.now_us += 999_999
    assert (await client.get("/v1/explain")).json() == []
    world.now_us += 1
    assert len((await client.get("/v1/explain")).json()) == 1


async def test_sessions(client: httpx.AsyncClient, world: World) -> None:
    answer = await client.get("/v1/sessions")
    assert answer.json() == {
        "sessions": [
            {
                "id": "agent-7",
                "age_s": 60.0,
                "idle_s": 1.5,
                "attempts": 4,
                "cells": [
                    {
                        "endpoint": "fireworks/llama-3.3-70b",
                        "task": "chat",
                        "requests": 2.5,
                        "failures": 0.5,
                        "outage_belief": 0.2,
                    }
                ],
            }
        ]
    }
    for limit in (0, 7, 9_999):
        await client.get("/v1/sessions", params={"limit": limit})
    assert world.router.asked_sessions == [100, 1, 7, 1000]
    assert (await client.get("/v1/sessions", params={"limit": "many"})).status_code == 400


async def test_a_forgotten_request_is_a_404_that_helps(client: httpx.AsyncClient, world: World) -> None:
    answer = await client.get("/v1/explain/" + "x" * 300)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "request_not_found"
    assert error["message"] == (
        f"No request '{'x' * 128}…' is remembered: the latest 100 since the gateway started are ([gateway] explain). "
        "A request's id is its answer's x-request-id header."
    )
    world.ring = None
    off = AdminReader(world.get_sources())
    with pytest.raises(RequestNotFoundError, match=r"set \[gateway\] explain"):
        await off.explain("x")
    assert await off.get_latest() == []


async def test_a_ranking_by_alias_task_and_tier(client: httpx.AsyncClient) -> None:
    ranking = (await client.get("/v1/rankings/default", params={"task": "code", "tier": "high"})).json()
    assert (ranking["model"], ranking["task"], ranking["tier"]) == (LLAMA, "code", "high")
    assert ranking["weights"] == {"reputation": 0.9, "price": 0.1}


async def test_a_model_name_may_hold_a_slash(client: httpx.AsyncClient) -> None:
    for path in ("meta/llama", "meta%2Fllama"):
        assert (await client.get(f"/v1/rankings/{path}")).json()["model"] == SLASHED


async def test_unknown_names_are_404_with_the_known_ones(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/rankings/gpt-5")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["known"] == [LLAMA, SLASHED]
    assert error["code"] == "model_not_found"
    assert "'gpt-5'" in error["message"]
    assert LLAMA in error["message"]
    answer = await client.get(f"/v1/rankings/{LLAMA}", params={"tier": "higher"})
    assert answer.status_code == 404
    assert answer.json()["error"]["known"] == ["high", "best-effort"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/page/../admin.py", 404),
        ("POST", "/metrics", 405),
        ("GET", "/v1/rankings", 404),
    ],
)
async def test_other_requests_get_an_error_of_the_same_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


async def test_usage(client: httpx.AsyncClient, world: World) -> None:
    answer = await client.get("/v1/usage")
    assert (answer.status_code, answer.json()["keys"]) == (200, [])
    world.keys = [make_reading()]
    world.now_us += 2_000_000
    [key] = (await client.get("/v1/usage")).json()["keys"]
    assert (key["key"], key["spent_today_nusd"]) == ("team", 1_250_000_000)


async def test_usage_that_cannot_be_read() -> None:
    def fail() -> list[KeyReading]:
        raise LedgerLost("x.budgets is closed.")

    world = World(read_keys=fail)
    server = AdminServer(build_admin(world.get_sources(), Gate("127.0.0.1")), "127.0.0.1", 0)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.address[1]}") as client:
        answer = await client.get("/v1/usage")
    await server.stop()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "budget_unavailable")


async def test_the_openapi_document_describes_what_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    assert "json" in answer.headers["content-type"]
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/health",
        "/ready",
        "/metrics",
        "/v1/rankings/{model}",
        "/v1/explain",
        "/v1/explain/{request_id}",
        "/v1/sessions",
        "/v1/usage",
        "/v1/reload",
    }
    ranking = document["paths"]["/v1/rankings/{model}"]["get"]
    assert {parameter["name"] for parameter in ranking["parameters"]} == {"model", "task", "tier"}
    assert {"200", "404"} <= set(ranking["responses"])
    row = document["components"]["schemas"]["EndpointView"]["properties"]
    assert "ttft_p50_s" in row


async def test_the_shipped_openapi_document_is_that_of_the_handlers() -> None:
    assert get_asset(OPENAPI_FILE) == render_openapi(), "run: python -m providerrank.apps.admin.openapi"


async def test_the_page_and_its_files(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    for name, media_type in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        assert f"/page/{name}" in page.text
        answer = await client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media_type)
        assert answer.headers["x-content-type-options"] == "nosniff"
    live = await client.get("/page/live", params={"tier": "high"})
    assert live.status_code == 200
    assert live.text.strip() in (await client.get("/", params={"tier": "high"})).text
    # What the form sends when no tier is chosen.
    assert (await client.get("/", params={"task": "chat", "tier": ""})).status_code == 200


async def test_another_host_name_is_refused_on_loopback(client: httpx.AsyncClient) -> None:
    for path in ("/", "/metrics", f"/v1/rankings/{LLAMA}", "/openapi.json", "/page/live", "/nothing"):
        answer = await client.get(path, headers={"host": "evil.example:8081"})
        assert answer.status_code == 403, path
        assert answer.json()["error"]["code"] == "host_not_allowed"
    assert (await client.get("/ready", headers={"host": "evil.example"})).status_code == 200


async def test_a_network_address_wants_a_key(networked: httpx.AsyncClient) -> None:
    answer = await networked.get("/metrics")
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["www-authenticate"]
    assert "sk-one" not in answer.text
    assert (await networked.get("/metrics", headers={"authorization": "Bearer wrong"})).status_code == 401
    assert (await networked.get("/metrics", headers={"authorization": "Bearer sk-one"})).status_code == 200
    assert (await networked.get("/", auth=("anyone", "sk-one"))).status_code == 200
    assert (await networked.get("/health")).status_code == 200
    assert (await networked.get("/ready")).status_code == 200


async def test_no_counter_changes_the_labels(client: httpx.AsyncClient) -> None:
    """Whatever a client asks for leaves no trace in what is exported."""
    await client.get("/v1/rankings/sk-secret-model", params={"task": "my-prompt"})
    text = (await client.get("/metrics")).text
    assert "sk-secret" not in text
    assert "my-prompt" not in text


async def test_a_fault_of_ours_is_logged_and_not_told(
    client: httpx.AsyncClient, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.router.tables[LLAMA] = (make_ranked("a/m", 1, "no such state"),)
    answer = await client.get(f"/v1/rankings/{LLAMA}")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "no such state" not in answer.text
    assert f"/v1/rankings/{LLAMA} failed" in caplog.text
    assert (await client.get("/health")).status_code == 200


async def test_a_taken_port_is_an_error_to_the_caller_and_not_an_exit(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = AdminServer(build_admin(world.get_sources(), Gate("127.0.0.1")), "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(OSError, match="ddress already in use"):
            await server.start()
        await server.stop()


async def test_signals_stay_the_gateways(client: httpx.AsyncClient) -> None:
    got = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, got.set)
    try:
        assert (await client.get("/health")).status_code == 200
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(got.wait(), 5)
        assert (await client.get("/health")).status_code == 200
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


def test_heavy_packages_stay_out_of_the_process() -> None:
    """pydantic, Alembic and the like are megabytes that nothing here needs."""
    script = (
        "import sys\n"
        "from providerrank.apps.admin.app import build_admin\n"
        "from providerrank.apps.admin.gate import Gate\n"
        "from tests.fake_admin import World\n"
        "import providerrank.engines.store_sql, providerrank.apps.admin.server\n"
        "build_admin(World().get_sources(), Gate('127.0.0.1'))\n"
        "heavy = ('pydantic', 'alembic', 'faker', 'polyfactory', 'jinja2', 'numpy', 'sqlalchemy.dialects.postgresql')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_reload_is_asked_for_and_its_refusal_told() -> None:
    outcomes: list[Reloaded | ReloadRefused] = [
        Reloaded(endpoints=1, added=["a/m"], removed=[], changed=[], needs_restart=["gateway.listen"], notes=[]),
        ReloadRefused(["p.toml:3: gateway.lsten is not a known key"]),
        ReloadRefused(["one", "two"]),
    ]

    async def reload() -> Reloaded:
        outcome = outcomes.pop(0)
        if isinstance(outcome, ReloadRefused):
            raise outcome
        return outcome

    sources = replace(World().get_sources(), reload=reload)
    server = AdminServer(build_admin(sources, Gate("127.0.0.1")), "127.0.0.1", 0)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.address[1]}") as client:
            done = await client.post("/v1/reload")
            one = await client.post("/v1/reload", headers={"Origin": f"http://127.0.0.1:{server.address[1]}"})
            two = await client.post("/v1/reload")
            crossed = await client.post("/v1/reload", headers={"Origin": "https://example.com"})
            got = await client.get("/v1/reload")
    finally:
        await server.stop()
    assert (done.status_code, done.json()["added"], done.json()["needs_restart"]) == (200, ["a/m"], ["gateway.listen"])
    assert (one.status_code, one.json()["error"]["mistakes"]) == (422, ["p.toml:3: gateway.lsten is not a known key"])
    assert two.json()["error"]["message"].startswith("The configuration has 2 mistakes")
    assert (crossed.status_code, got.status_code) == (403, 405)
    assert outcomes == []
