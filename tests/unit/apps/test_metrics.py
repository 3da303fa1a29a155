from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from providerrank.apps.admin.metrics import StatsSource, get_snapshot, render
from providerrank.apps.admin.reader import AdminReader
from providerrank.gateway.stats import Stats
from tests.fake_admin import LLAMA, World, make_stats

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
FIREWORKS = {"endpoint": "fireworks/llama-3.3-70b", "model": LLAMA}


def read(world: World) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = render(AdminReader(world.get_sources()).get_snapshot()).decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, "a sample appears once"
            samples[key] = sample.value
    return samples


def test_the_data_plane_has_what_is_read() -> None:
    source: StatsSource = Stats()
    snapshot = get_snapshot(source, (), (), "1")
    assert snapshot.ttft_bounds_s == tuple(sorted(snapshot.ttft_bounds_s))
    render(snapshot)


def test_every_counter_arrives() -> None:
    samples = read(World(stats=make_stats()))

    def get(name: str, **labels: str) -> float:
        return samples[f"providerrank_{name}", frozenset(labels.items())]

    assert get("build_info", version="1.2.3") == 1
    assert get("requests_total", api="chat", status="2xx") == 1207
    assert get("fallbacks_total") == 44
    assert get("fallback_reasons_total", reason="rate_limited") == 41
    assert get("request_duration_seconds_count", model=LLAMA) == 1207
    assert get("request_duration_seconds_sum", model=LLAMA) == 1500
    assert get("request_duration_seconds_bucket", model=LLAMA, le="5.0") == 1200
    assert get("request_ttft_seconds_bucket", model=LLAMA, le="0.3") == 1000
    assert get("request_ttft_seconds_sum", model=LLAMA) == 560
    assert get("config_reloads_total", result="refused") == 1
    assert get("endpoint_state", **FIREWORKS, state="ok") == 1
    assert get("endpoint_state", endpoint="fallen/llama-3.3-70b", model=LLAMA, state="out") == 1
    assert get("continuations_total") == 2
    assert get("client_cancels_total") == 5
    assert get("client_connections") == 32
    assert get("requests_pending") == 3
    assert get("attempts_total", **FIREWORKS, outcome="failure") == 3
    assert get("attempts_in_flight", **FIREWORKS) == 3
    assert get("tokens_total", **FIREWORKS, direction="input") == 480_000
    assert get("probes_total", **FIREWORKS, outcome="success") == 7
    assert get("probe_cost_usd_total", **FIREWORKS) == 0.002
    assert get("tokens_total", **FIREWORKS, direction="output") == 120_000
    assert get("cost_usd_total", **FIREWORKS) == 0.546
    assert get("key_requests_total", key="team", status="cancelled") == 1
    assert get("key_tokens_total", key="team", endpoint=FIREWORKS["endpoint"], direction="input") == 700
    assert get("key_cost_usd_total", key="team", endpoint=FIREWORKS["endpoint"]) == 0.25
    assert get("endpoint_score", **FIREWORKS) == 0.8 - 0.1
    assert get("endpoint_usable", **FIREWORKS) == 1
    assert get("endpoint_usable", endpoint="fallen/llama-3.3-70b", model=LLAMA) == 0
    assert get("endpoint_outage_belief", endpoint="fallen/llama-3.3-70b", model=LLAMA) == 0.97
    assert samples["process_resident_memory_bytes", frozenset()] > 0


def test_the_histogram_is_cumulative_and_whole() -> None:
    samples = read(World(stats=make_stats()))
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in samples.items()
        if name == "providerrank_ttft_seconds_bucket"
    }
    assert buckets == {"0.1": 0, "0.3": 1000, "1.0": 1000, "3.0": 1200, "+Inf": 1200}
    labels = frozenset(FIREWORKS.items())
    assert samples["providerrank_ttft_seconds_count", labels] == 1200
    assert samples["providerrank_ttft_seconds_sum", labels] == 530.0


def test_a_gateway_nobody_has_used_can_be_scraped() -> None:
    samples = read(World())
    assert samples["providerrank_fallbacks_total", frozenset()] == 0


def test_what_was_copied_does_not_change_while_it_is_written() -> None:
    world = World(stats=make_stats())
    snapshot = AdminReader(world.get_sources()).get_snapshot()
    before = render(snapshot)
    world.stats.attempts["fireworks/llama-3.3-70b", "success"] += 1
    world.stats.ttft_buckets["fireworks/llama-3.3-70b"][0] += 1
    world.stats.requests["new", "2xx"] = 1

    def get_ours(text: bytes) -> list[bytes]:
        return [line for line in text.splitlines() if line.startswith(b"providerrank_")]

    assert get_ours(render(snapshot)) == get_ours(before)


def test_a_hostile_endpoint_name_stays_inside_its_label() -> None:
    world = World()
    world.stats.attempts['a"} 1\nproviderrank_fake{x="', "success"] = 1
    samples = read(world)
    assert not any(name == "providerrank_fake" for name, _ in samples)


def test_the_reference_lists_exactly_what_is_exported() -> None:
    text = render(AdminReader(World(stats=make_stats()).get_sources()).get_snapshot()).decode()
    exported = {
        (match[1], match[2]) for match in re.finditer(r"^# TYPE (providerrank_\w+) (\w+)$", text, flags=re.MULTILINE)
    }
    documented = {
        (match[1], match[2])
        for match in re.finditer(r"^\| `(providerrank_\w+)` \| (\w+) \|", REFERENCE.read_text(), flags=re.MULTILINE)
    }
    assert exported == documented


def test_the_reference_lists_the_labels_of_each() -> None:
    text = render(AdminReader(World(stats=make_stats()).get_sources()).get_snapshot()).decode()
    documented = {
        match[1]: set(re.findall(r"`(\w+)`", match[2]))
        for match in re.finditer(r"^\| `(providerrank_\w+)` \| \w+ \|([^|]*)\|", REFERENCE.read_text(), re.MULTILINE)
    }
    for family in text_string_to_metric_families(text):
        if family.name.startswith("providerrank_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            assert labels == documented[name], name
