from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import cast

import pytest

from providerrank.apps.admin.page.html import money, percent, seconds
from providerrank.apps.admin.page.requests import (
    VERDICTS,
    render_explanation,
    render_forgotten,
    render_latest,
)
from providerrank.rules.explain import explain, make_brief
from providerrank.rules.explanation import Candidate, Explanation, ModelPart, Verdict
from tests.fake_admin import LLAMA, make_finished

HOSTILE = '"><script>alert(1)</script>&amp;'
VOID = {"meta", "link", "img", "input", "rect"}


class Outline(HTMLParser):
    """Every element, checked to be closed where it must be; the text of each, joined."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture
def explanation() -> Explanation:
    return explain(make_finished("req-7"))


def test_a_request_on_a_page_of_its_own(explanation: Explanation) -> None:
    page = Outline(render_explanation(explanation, "1.2.3"))
    assert "Request req-7" in page.text
    assert explanation.summary in page.text
    for word in ("Attempts", "server error (HTTP 500)", LLAMA, "what became of it".capitalize(), "answered"):
        assert word in page.text
    assert page.count("table") == 2
    assert page.count("svg") == 2
    assert ("a", {"href": "/v1/explain/req-7"}) in page.tags
    assert not any("style" in attributes or "onclick" in attributes for _, attributes in page.tags)
    assert page.count("script") == 0


def test_bars_lie_within_their_line(explanation: Explanation) -> None:
    for total_s in (0.9, 0.0):
        page = Outline(render_explanation(replace(explanation, total_s=total_s), "1"))
        for tag, attributes in page.tags:
            if tag == "rect":
                begin, width = float(attributes.get("x") or 0), float(attributes["width"] or 0)
                assert begin >= 0
                assert width >= 0
                assert begin + width <= 640.01


def test_whatever_a_client_may_name_stays_text(explanation: Explanation) -> None:
    hostile = replace(
        explanation,
        request_id=HOSTILE,
        model=HOSTILE,
        task=HOSTILE,
        tier=HOSTILE,
        session=HOSTILE,
        key=HOSTILE,
        api=HOSTILE,
        summary=HOSTILE,
        attempts=tuple(replace(one, endpoint=HOSTILE, words=f"{HOSTILE}; {HOSTILE}") for one in explanation.attempts),
        models=tuple(
            replace(
                part,
                model=HOSTILE,
                words=HOSTILE,
                candidates=tuple(replace(one, endpoint=HOSTILE, words=HOSTILE) for one in part.candidates),
            )
            for part in explanation.models
        ),
    )
    page = Outline(render_explanation(hostile, HOSTILE))
    assert page.count("script") == 0
    assert page.text.count("alert(1)") >= 15
    brief = replace(make_brief(make_finished()), request_id=HOSTILE, model=HOSTILE, endpoint=HOSTILE, api=HOSTILE)
    table = Outline(render_latest([brief]))
    assert table.count("script") == 0
    [link] = [attributes["href"] for tag, attributes in table.tags if tag == "a"]
    assert link == "/explain/%22%3E%3Cscript%3Ealert%281%29%3C%2Fscript%3E%26amp%3B"
    assert Outline(render_forgotten(HOSTILE, HOSTILE)).count("script") == 0


def test_every_verdict_has_a_word_and_a_mark(explanation: Explanation) -> None:
    [part] = explanation.models
    [first, *_] = part.candidates
    for verdict, (word, mark) in VERDICTS.items():
        one = replace(first, verdict=cast("Verdict", verdict), words=f"{word}: because")
        page = Outline(render_explanation(replace(explanation, models=(replace(part, candidates=(one,)),)), "1"))
        assert f"{mark} {word}because" in page.text


def test_what_is_not_kept_is_said(explanation: Explanation) -> None:
    unseen = Candidate("far/m", None, "failed", "failed: server error", (), None)
    part = ModelPart("m", True, "a fallback model", (unseen,), 1234)
    empty = ModelPart("n", True, "a fallback model, not tried", (), 0)
    attempts = tuple(replace(one, connected_s=None, first_content_s=None, ended_s=None) for one in explanation.attempts)
    page = Outline(
        render_explanation(
            replace(explanation, models=(part, empty), attempts=attempts, attempts_left_out=8, endpoint=None), "1"
        )
    )
    assert "1,234 more endpoints are not kept." in page.text
    assert "8 more attempts in the middle are not kept." in page.text
    assert "a fallback model, not tried" in page.text
    assert "Tokens" not in page.text
    assert "Attempts" not in Outline(render_explanation(replace(explanation, attempts=()), "1")).text


def test_the_latest_requests() -> None:
    assert render_latest([]) == ""
    brief = make_brief(make_finished("req-7"))
    left = replace(brief, status=499, endpoint=None, ttft_s=None, cost_usd=0.0, model="")
    page = Outline(render_latest([brief, left, replace(brief, status=502), replace(brief, status=404)]))
    assert page.count("tr") == 5
    assert ("a", {"href": "/explain/req-7"}) in page.tags
    assert "nobody" in page.text
    classes = [attributes.get("class") for tag, attributes in page.tags if tag == "tr"][1:]
    assert classes == ["went-well", "was-refused", "went-wrong", "was-refused"]
    assert "left" in page.text


def test_a_forgotten_request_leads_back() -> None:
    page = Outline(render_forgotten("No request 'x' is remembered.", "1"))
    assert "No request 'x' is remembered." in page.text
    assert ("a", {"href": "/"}) in page.tags


def test_small_parts() -> None:
    assert [seconds(value) for value in (None, 0.0123, -0.2, 1.234)] == [
        '<span class="none">unknown</span>',
        "12 ms",
        "-200 ms",
        "1.23 s",
    ]
    assert [money(usd) for usd in (0.0, 0.0000196, 0.0123, 0.5, 12.345)] == [
        "$0.0000",
        "$0.000020",
        "$0.0123",
        "$0.5000",
        "$12.35",
    ]
    assert percent(0.99999) == "100 %"
    assert percent(0.9999) == "99.99 %"
