from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from typing_extensions import override

from providerrank.apps.admin.page.render import ASSETS, get_asset, render_live, render_page
from providerrank.apps.admin.reader import MAX_ROWS, AdminReader, NotFoundError
from providerrank.rules.ranking import Ranking
from tests.fake_admin import LLAMA, NOW_US, SLASHED, FakeRouter, World, make_ranked, make_stats

VOID = {"meta", "link", "img", "rect", "input", "br"}


class Outline(HTMLParser):
    """Checks that elements nest, and keeps the text, the attributes and the table's shape."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.columns: list[int] = []
        self.feed(text)
        self.close()
        assert self.open == []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.columns.append(0)
        if tag in {"td", "th"}:
            self.columns[-1] += 1

    @override
    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        self.text.append(data)


def get_outline(world: World | None = None, task: str = "chat", tier: str | None = None) -> Outline:
    world = World(stats=make_stats()) if world is None else world
    return Outline(render_page(AdminReader(world.get_sources()).get_page(task, tier)))


def test_every_row_has_every_column() -> None:
    outline = get_outline()
    assert len(outline.columns) == 2 + 6 + 1
    assert len(set(outline.columns)) == 1


def test_what_an_operator_asks_is_told_in_words() -> None:
    text = re.sub(r"\s+", " ", "".join(get_outline().text))
    for told in (
        "Ready",
        "1,211",  # requests
        "250 ms",  # p50 of what was measured; the sketch may say 249 or 251
        "98.76 %",
        "$0.90 / $0.95",
        "rate-limited for another 12 s",
        "out with a probability of 97%",
        "not in the pool: price cap",
        "rate limited 1 min ago",
        "none seen",
        "no evidence yet",
        "believed out",
        "suspect",
    ):
        if told == "250 ms":
            assert re.search(r"2(4[5-9]|5[0-5]) ms", text)
        else:
            assert told in text, told


def test_nothing_a_name_holds_becomes_markup() -> None:
    page = render_page(AdminReader(World().get_sources()).get_page("chat", None))
    assert "alert(1)" in page
    assert "<script>" not in page
    assert "feature &lt;tools&gt;" in page


def test_a_task_from_the_address_is_escaped() -> None:
    page = render_page(AdminReader(World().get_sources()).get_page('"><script>', None))
    assert "<script>" not in page


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    for tag, name, value in get_outline().attributes:
        assert name != "style"
        assert not name.startswith("on")
        if name in {"src", "href", "action"}:
            assert value.startswith("/"), (tag, name, value)
            assert not value.startswith("//")
    for name in ASSETS:
        content = get_asset(name).decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in content
        assert "https:" not in content


def test_the_tables_are_accessible() -> None:
    attributes = get_outline().attributes
    assert ("html", "lang", "en") in attributes
    assert ("th", "scope", "row") in attributes
    assert ("th", "scope", "col") in attributes
    assert all(("svg", "aria-hidden", "true") in attributes for tag, _, _ in attributes if tag == "svg")


def test_tier_and_task_stay_chosen() -> None:
    selected = [value for tag, name, value in get_outline(tier="high", task="code").attributes if tag == "option"]
    assert "high" in selected
    page = render_page(AdminReader(World().get_sources()).get_page("code", "high"))
    assert '<option value="code" selected>' in page
    assert '<option value="high" selected>' in page


def test_thousands_of_endpoints_are_cut_and_counted() -> None:
    rows = tuple(replace(make_ranked(f"p{number}/m", number + 1), effective=0.5) for number in range(5000))
    world = World(router=FakeRouter({SLASHED: rows}))
    live = render_live(AdminReader(world.get_sources()).get_page("chat", None))
    assert live.count("<tr") == MAX_ROWS + 1
    assert f"{5000 - MAX_ROWS:,} more" in live
    assert "/v1/rankings/meta/llama" in live
    assert "<strong>5,000</strong> of 5,000" in live


def test_the_page_is_made_once_a_second_however_many_look() -> None:
    world = World()
    reader = AdminReader(world.get_sources())
    for _ in range(50):
        reader.get_page("chat", None)
    once = world.router.asked
    assert once <= 3
    world.now_us = NOW_US + 1_000_000
    reader.get_page("chat", None)
    assert world.router.asked == 2 * once
    world.now_us = NOW_US - 3_600_000_000
    reader.get_page("chat", None)
    assert world.router.asked == 3 * once, "a clock set back must not freeze the page"


def test_what_takes_long_to_make_is_made_less_often() -> None:
    world = World()
    ranking = world.router.ranking

    def slow(
        model: str, now_us: int, task: str = "chat", tier: str | None = None, *, limit: int | None = None
    ) -> Ranking:
        world.now_us += 150_000
        return ranking(model, now_us, task, tier, limit=limit)

    world.router.ranking = slow  # type: ignore[method-assign]  # a fake may be refined
    reader = AdminReader(world.get_sources())
    reader.get_page("chat", None)
    once = world.router.asked
    world.now_us += 5_900_000
    reader.get_page("chat", None)
    assert world.router.asked == once, "two rankings of 150 ms rest for 6 s"
    world.now_us += 3_200_000
    reader.get_page("chat", None)
    assert world.router.asked > once


def test_views_kept_are_bounded() -> None:
    reader = AdminReader(World().get_sources())
    for number in range(1000):
        reader.get_page(f"task-{number}", None)
    assert len(reader._pages) <= 64


def test_readiness_says_why_not() -> None:
    world = World()
    reader = AdminReader(world.get_sources())
    assert reader.get_readiness().ready
    world.listening = False
    assert reader.get_readiness().because == "the data plane is not listening"
    world.listening = True
    assert reader.get_readiness().ready
    world.router.tables = {LLAMA: (replace(make_ranked("a/m", 1, "out"), belief=0.9),)}
    world.now_us += 1_000_000
    assert reader.get_readiness().because == "every endpoint is believed out or excluded"
    world.router.tables[LLAMA] += (make_ranked("b/m", 2, "cooling"),)
    world.now_us += 1_000_000
    assert reader.get_readiness().ready, "a rate limit passes by itself"


@pytest.mark.parametrize(("task", "tier"), [("", None), ("x" * 65, None), ("chat", "higher"), ("chat", "<b>")])
def test_what_is_not_known_is_refused(task: str, tier: str | None) -> None:
    reader = AdminReader(World().get_sources())
    with pytest.raises(NotFoundError):
        reader.get_page(task, tier)
    with pytest.raises(NotFoundError):
        reader.get_ranking(LLAMA, task, tier)
