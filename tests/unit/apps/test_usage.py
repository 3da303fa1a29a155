"""What is shown of keys with names: on the page, as JSON, on the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from providerrank.apps import compose, config
from providerrank.apps.admin.page.render import MAX_KEYS, render_live
from providerrank.apps.admin.reader import AdminReader
from providerrank.apps.admin.usage import KeyReading, describe_end, view_usage
from providerrank.apps.cli import commands as cli
from providerrank.gateway.ports import LedgerLost
from providerrank.gateway.settings import BuyerKey
from providerrank.gateway.stats import KeyStats
from providerrank.rules.budget import DAY_US, Budget, Hold, Standing
from tests.configs import NOWHERE, write_endpoint, write_file
from tests.fake_admin import NOW_US, World, make_stats
from tests.unit.apps.test_page import Outline

TEXT = write_endpoint(url=NOWHERE)

KEYS = (
    TEXT
    + """
[[keys]]
name = "team"
key = "sk-team-secret"
spend_per_day = 2.5
requests_per_minute = 60

[[keys]]
name = "free <b>"
key = "sk-free-secret"
"""
)


def make_reading(name: str = "team", budget: Budget | None = None, spent: int = 1_250_000_000) -> KeyReading:
    stats = KeyStats()
    stats.count_use("b/m", 1, 2, 3)
    stats.count_use("a/m", 100, 50, 250_000_000)
    standing = Standing(
        day=NOW_US // DAY_US,
        requests=12,
        input_tokens=3_000,
        output_tokens=400,
        spent_nusd=spent,
        held_nusd=50_000_000,
        minute_requests=3,
        minute_tokens=1_200,
        day_ends_us=DAY_US - NOW_US % DAY_US,
    )
    settings = BuyerKey(name, "sk-never-shown", frozenset({"z", "a"}), ("high",), budget=budget or Budget(60, 1_000))
    return KeyReading(settings, standing, stats)


def test_a_view_has_what_is_used_and_what_is_left() -> None:
    view = view_usage([make_reading(budget=Budget(60, 1_000, 2_000_000_000))], NOW_US)
    assert view.day == "2023-11-14"
    assert view.day_ends_s == 6_400
    assert describe_end(view) == "2023-11-15 00:00 UTC"
    [key] = view.keys
    assert (key.key, key.models, key.tiers, key.priority) == ("team", ["a", "z"], ["high"], "normal")
    assert (key.spend_today.used, key.spend_today.limit, key.spend_today.remaining) == (1.25, 2.0, 0.75)
    assert (key.spent_today_nusd, key.held_usd) == (1_250_000_000, 0.05)
    assert (key.requests_today, key.input_tokens_today, key.output_tokens_today) == (12, 3_000, 400)
    assert (key.requests_this_minute.used, key.requests_this_minute.remaining) == (3, 57)
    assert (key.tokens_this_minute.used, key.tokens_this_minute.remaining) == (1_200, 0)
    assert [(one.endpoint, one.input_tokens, one.output_tokens, one.cost_usd) for one in key.endpoints] == [
        ("a/m", 100, 50, 0.25),
        ("b/m", 1, 2, 3e-9),
    ]


def test_without_limits_nothing_is_left_to_tell() -> None:
    [key] = view_usage([make_reading(budget=Budget())], NOW_US).keys
    for budget in (key.spend_today, key.requests_this_minute, key.tokens_this_minute):
        assert (budget.limit, budget.remaining) == (None, None)
    assert view_usage([], NOW_US).keys == []


def test_the_page_shows_keys_where_there_are_any() -> None:
    world = World(stats=make_stats())
    assert "<h2>Keys</h2>" not in render_live(AdminReader(world.get_sources()).get_page("chat", None))
    world.keys = [make_reading("<i>", Budget(spend_per_day_nusd=2_000_000_000))]
    text = render_live(AdminReader(world.get_sources()).get_page("chat", None))
    outline = Outline(text)
    shown = " ".join(outline.text)
    assert "<i>" not in text.partition("<h2>Keys</h2>")[2]
    assert "$1.25 of $2.00" in shown
    assert "no limit" in shown
    assert "sk-never-shown" not in text


def test_the_page_shows_only_the_first_of_many() -> None:
    world = World(stats=make_stats(), keys=[make_reading(f"team-{at}") for at in range(MAX_KEYS + 3)])
    text = render_live(AdminReader(world.get_sources()).get_page("chat", None))
    assert f"team-{MAX_KEYS - 1}<" in text
    assert f"team-{MAX_KEYS}<" not in text
    assert '3 more: <a href="/v1/usage">' in text


def test_accounts_that_cannot_be_read_leave_the_rest_of_the_page() -> None:
    def fail() -> list[KeyReading]:
        raise LedgerLost("x.budgets is closed.")

    world = World(stats=make_stats())
    world.read_keys = fail
    reader = AdminReader(world.get_sources())
    assert reader.get_page("chat", None).usage is None
    with pytest.raises(LedgerLost):
        reader.get_usage()


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_file(tmp_path, KEYS)


def use(path: Path, cost_nusd: int) -> None:
    ledger = compose.open_ledger(config.load(path))
    account = ledger.open("team")
    now_us = time.time_ns() // 1_000
    hold = account.reserve(Budget(), now_us, 10, cost_nusd)
    assert isinstance(hold, Hold)
    account.settle(hold, now_us, 1_234, 56, cost_nusd)
    ledger.close()


def test_usage_as_a_table(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    use(path, 1_250_000_000)
    assert cli.run(["usage", "-c", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "$1.2500 of $2.5000" in printed
    assert "1,234" in printed
    assert "1 of 60" in printed
    assert "free <b>" in printed
    assert "Budgets for a day are renewed at " in printed
    assert "secret" not in printed


def test_usage_as_json_of_keys_nobody_has_used(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["usage", "-c", str(path), "--json"]) == 0
    printed = capsys.readouterr().out
    assert [key["spent_today_nusd"] for key in json.loads(printed)["keys"]] == [0, 0]
    assert not path.with_suffix(".budgets").exists(), "looking makes nothing"
    assert "secret" not in printed


def test_usage_without_keys(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(TEXT)
    assert cli.run(["usage", "-c", str(path)]) == 0
    assert 'add one under the header "[[keys]]"' in capsys.readouterr().out


def test_usage_that_cannot_be_read(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(path, 1)

    def fail(*_: object) -> None:
        raise LedgerLost("x.budgets cannot be used: no space left.")

    monkeypatch.setattr("providerrank.engines.ledger_file.LedgerFile.open", fail)
    assert cli.run(["usage", "-c", str(path)]) == 1
    assert "providerrank: x.budgets cannot be used: no space left." in capsys.readouterr().err
