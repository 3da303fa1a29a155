from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from providerrank.sim.oracle import Oracle
from providerrank.sim.recorded import Poll, Recorded, compute_success

START = datetime(2026, 7, 6, tzinfo=UTC)
DATA = Path(os.environ.get("PROVIDERRANK_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))


def poll(minutes: float, up5m: float | None, up30m: float | None) -> Poll:
    return Poll(START + timedelta(minutes=minutes), up5m, up30m)


def test_the_last_five_minutes_and_the_twenty_five_before_are_told_apart() -> None:
    success = compute_success([poll(60, 0.4, 0.9)], START)
    assert success.at(58 / 60) == pytest.approx(0.4)
    assert success.at(40 / 60) == pytest.approx(1.0)
    mixed = compute_success([poll(60, 1.0, 0.5)], START)
    assert mixed.at(40 / 60) == pytest.approx(0.4)


def test_idle_is_not_down() -> None:
    success = compute_success([poll(0, 0.9, 0.9), poll(60, None, None), poll(120, None, 0.7)], START)
    assert success.at(0.9) == pytest.approx(0.8)
    assert success.at(2.0) == pytest.approx(0.7)


def test_between_polls_both_sides_count() -> None:
    success = compute_success([poll(0, 1.0, 1.0), poll(120, 0.5, 0.5)], START)
    assert success.at(0.7) == pytest.approx(0.75)


def test_an_endpoint_never_seen_busy_is_refused() -> None:
    with pytest.raises(ValueError, match="idle"):
        compute_success([poll(0, None, None)], START)


def test_a_folder_in_the_recorded_form_becomes_a_world(tmp_path: Path) -> None:
    up, perf = tmp_path / "openrouter_uptime", tmp_path / "openrouter_endpoint_perf_2026_08"
    up.mkdir()
    perf.mkdir()
    rows = ["model,endpoint,ts_utc,status,up5m,up30m,up1d"]
    terms = ["model,endpoint,valid_from_utc,prompt_usd_per_tok,completion_usd_per_tok"]
    for number, tag in enumerate(("groq", "baseten/fp4", "together", "together#2", "idle")):
        for hour in range(-3, 9):
            share = "" if tag == "idle" else "99.5"
            rows.append(
                f"openai/gpt-oss-120b,{tag},{START + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ},0,{share},{share},"
            )
        terms.append(f"openai/gpt-oss-120b,{tag},2026-07-04T14:00:00Z,0.0000001{number},0.0000005")
        terms.append(f"openai/gpt-oss-120b,{tag},2026-07-06T03:00:00Z,0.0000002,0.0000005")
    with gzip.open(up / "uptime_6models.csv.gz", "wt") as file:
        file.write("\n".join(rows) + "\n")
    (up / "endpoint_terms_6models.csv").write_text("\n".join(terms) + "\n")
    (perf / "p50_by_endpoint.csv").write_text(
        "model,provider_endpoint,p50_ttft_ms\nopenai/gpt-oss-120b,Groq,241.0\nopenai/gpt-oss-20b,Groq,494.75\n"
    )
    world = Recorded(tmp_path).world("openai/gpt-oss-120b", START, 6.0)
    tracks = {track.endpoint_id: track for track in world.tracks}
    assert set(tracks) == {
        "groq/gpt-oss-120b",
        "baseten/gpt-oss-120b:fp4",
        "together/gpt-oss-120b",
        "together-2/gpt-oss-120b",
    }
    groq = tracks["groq/gpt-oss-120b"]
    assert groq.ttft.median_s == pytest.approx(0.241)
    assert groq.success.at(2.0) == pytest.approx(0.995)
    assert groq.price.at(0.0).input_nusd == 100_000_000
    assert groq.price.at(3.5).input_nusd == 200_000_000
    with pytest.raises(ValueError, match="only 0 endpoints"):
        Recorded(tmp_path).world("openai/gpt-oss-120b", START + timedelta(days=9), 6.0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="uptime"):
        Recorded(tmp_path)


@pytest.mark.skipif(not (DATA / "openrouter_uptime").is_dir(), reason="needs the recorded data beside the repository")
def test_every_recorded_model_makes_a_world() -> None:
    recorded = Recorded(DATA)
    assert len(recorded.models) >= 3
    for model in recorded.models:
        world = recorded.world(model, START, 24.0)
        assert len(world.tracks) >= 5
        assert Oracle(world).moment(12.0).value > 0.6
