"""How an endpoint is asked by a probe, and which refusals may only mean "not in this way"."""

from __future__ import annotations

import json

import pytest

from providerrank.gateway.probe import Manner, Way, write_probe
from providerrank.gateway.ring import MAX_PROBES, Ring
from providerrank.gateway.stats import Stats
from providerrank.gateway.tally import refill, write_figures
from providerrank.rules.ask import Ask
from providerrank.rules.attempt import Attempt, Fault
from providerrank.rules.finished import Finished
from providerrank.rules.observation import Outcome
from tests.unit.rules.market import T, endpoint

ANY = endpoint("a")
CHATS = endpoint("a", features=frozenset({"tools"}))
EMBEDS = endpoint("a", features=frozenset({"embeddings"}))


@pytest.mark.parametrize(
    ("way", "api", "body"),
    [
        (Way.CHAT, "chat", {"max_tokens": 3, "stream": True, "messages": [{"role": "user", "content": "Say hi"}]}),
        (
            Way.CHAT_BY_NEWER_NAME,
            "chat",
            {"max_completion_tokens": 3, "stream": True, "messages": [{"role": "user", "content": "Say hi"}]},
        ),
        (Way.EMBEDDINGS, "embeddings", {"input": "Say hi"}),
    ],
)
def test_what_is_sent(way: Way, api: str, body: dict[str, object]) -> None:
    written_api, written = write_probe(way, "m", 3)
    assert written_api == api
    assert json.loads(written) == {"model": "m", **body}


def test_who_is_asked_for_what_first() -> None:
    assert Manner(ANY).way is Way.CHAT
    assert Manner(CHATS).way is Way.CHAT
    assert Manner(EMBEDS).way is Way.EMBEDDINGS
    assert Manner(endpoint("a", model="text-embedding-3")).way is Way.EMBEDDINGS
    assert Manner(endpoint("a", model="embed-2", features=frozenset({"tools"}))).way is Way.CHAT


def test_another_name_for_the_limit_is_tried() -> None:
    manner = Manner(CHATS)
    assert manner.excuses(Fault.UNSUPPORTED, 400)
    assert manner.way is Way.CHAT_BY_NEWER_NAME
    manner.is_proved = True
    assert not manner.excuses(Fault.UNSUPPORTED, 400)
    assert manner.way is Way.CHAT_BY_NEWER_NAME


def test_where_there_is_no_chat_another_api_is_tried_and_then_it_counts() -> None:
    manner = Manner(ANY)
    ways = [manner.way]
    assert manner.excuses(Fault.REFUSED_US, 404)
    ways.append(manner.way)
    assert not manner.excuses(Fault.REFUSED_US, 404), "it has refused every way: its name or address is wrong"
    assert [*ways, manner.way] == [Way.CHAT, Way.EMBEDDINGS, Way.CHAT]


def test_a_chat_endpoint_without_a_chat_api_is_wrong_at_once() -> None:
    assert not Manner(CHATS).excuses(Fault.REFUSED_US, 404)


def test_an_embeddings_endpoint_that_chats() -> None:
    manner = Manner(EMBEDS)
    assert manner.excuses(Fault.REFUSED_US, 405)
    assert manner.way is Way.CHAT
    assert not manner.excuses(Fault.REFUSED_US, 404)


def test_every_rejection_is_excused_once() -> None:
    manner = Manner(ANY)
    assert [manner.excuses(Fault.CLIENT_ERROR, 400) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("fault", "status"),
    [(Fault.REFUSED_US, 401), (Fault.SERVER_ERROR, 500), (Fault.RATE_LIMITED, 429), (Fault.RESET, None)],
)
def test_what_is_no_matter_of_manners(fault: Fault, status: int | None) -> None:
    manner = Manner(ANY)
    assert not manner.excuses(fault, status)
    assert manner.way is Way.CHAT


def test_probes_are_counted_apart_and_added_up() -> None:
    stats = Stats()
    counters = stats.add("a/m")
    stats.add("b/m")
    counters.in_flight = 2
    counters.count_probe(Attempt(ANY, "m", T, first_content_us=T + 5), Outcome.SUCCESS, 40, T)
    counters.count_probe(Attempt(ANY, "m", T, fault=Fault.RESET), Outcome.FAILURE, 2, T + 1)
    total = Stats()
    refill(total, [write_figures(stats), write_figures(stats)])
    assert total.probes == {("a/m", "success"): 2, ("a/m", "failure"): 2}
    assert total.probe_cost_nusd == {"a/m": 84}
    assert total.last_failures == {"a/m": (T + 1, "reset")}
    assert total.attempts == {}
    assert total.in_flight == {"a/m": 0}
    assert sum(total.ttft_buckets["a/m"]) == 0
    assert stats.probe_cost_nusd == {"a/m": 42}


def test_probes_push_no_request_out_and_are_in_no_list() -> None:
    ring = Ring(2)
    ring.keep(Finished(b"one", "chat", Ask("m"), False, 200, (Attempt(ANY, "m", T, ended_us=T + 1),)))
    for number in range(3):
        log = (Attempt(ANY, "m", T, ended_us=T + 1),)
        ring.keep_probe(Finished(b"probe-%d" % number, "chat", Ask("m"), True, 200, log, is_probe=True))
    assert [brief.request_id for brief in ring.get_latest(9)] == ["one"]
    assert ring.find("probe-0") is None
    found = ring.find("probe-2")
    assert found is not None
    assert found.probe
    assert found.summary == "A probe of ours, no client's request: a/m answered after 0 ms."
    one = ring.find("one")
    assert one is not None
    assert not one.probe
    assert MAX_PROBES >= 2
