"""A reply is data: what is due when, and what becomes of the connection."""

from __future__ import annotations

import random

import pytest

from providerrank.sim.answers import Answer
from providerrank.sim.bodies import Label, get_body, get_events, get_usage
from providerrank.sim.faults import ON_PLAIN_ANSWER, STREAM_FAULTS, Fault, Play
from providerrank.sim.faulty import Exchange, perform
from providerrank.sim.performance import Ending

LABEL = Label(1, 1_760_000_000, b'"m"')


def answer() -> Answer:
    return Answer([b"one", b" two", b" three", b" four"], b"stop", 10)


def streamed(ttft_s: float = 0.5, token_s: float = 0.1) -> Exchange:
    made = answer()
    return Exchange(ttft_s, token_s, 4, events=get_events(made, LABEL, get_usage(made)), rng=random.Random(1))


def plain(ttft_s: float = 0.5, token_s: float = 0.1) -> Exchange:
    made = answer()
    return Exchange(ttft_s, token_s, 4, body=get_body(made, LABEL, get_usage(made)), rng=random.Random(1))


def contents(data: bytes) -> int:
    return data.count(b'"delta":{"content":"')


def test_a_plain_answer_is_due_when_its_last_token_is() -> None:
    (write,) = perform(plain()).writes
    assert write[0] == pytest.approx(0.8)


def test_a_stream_s_tokens_are_due_one_by_one() -> None:
    writes = perform(streamed()).writes
    assert [at_s for at_s, _ in writes] == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert [contents(data) for _, data in writes] == [1, 1, 1, 1]
    assert writes[0][1].startswith(b"HTTP/1.1 200 OK\r\n")
    assert writes[-1][1].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_what_is_due_together_is_written_together() -> None:
    (write,) = perform(streamed(0.0, 0.0)).writes
    assert contents(write[1]) == 4


def test_a_slow_first_token_delays_everything_and_changes_nothing() -> None:
    late = perform(streamed(), Play(Fault.SLOW_FIRST_TOKEN, seconds=3.0)).writes
    prompt = perform(streamed()).writes
    assert [at_s - 3.0 for at_s, _ in late] == pytest.approx([at_s for at_s, _ in prompt])
    assert [data for _, data in late] == [data for _, data in prompt]


@pytest.mark.parametrize("after", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("fault", [Fault.CUT_ABORT, Fault.CUT_CLEAN, Fault.STALL_MID_STREAM, Fault.ERROR_EVENT_MIDWAY])
def test_a_fault_midway_comes_after_as_many_events_as_it_is_told(fault: Fault, after: int) -> None:
    performance = perform(streamed(), Play(fault, after=after))
    data = b"".join(data for _, data in performance.writes)
    assert contents(data) == min(after, 4)
    assert b"[DONE]" not in data


def test_a_stall_for_a_time_goes_on_after_it() -> None:
    writes = perform(streamed(), Play(Fault.STALL_MID_STREAM, after=2, seconds=5.0)).writes
    assert [at_s for at_s, _ in writes] == pytest.approx([0.5, 0.6, 5.7, 5.8])


@pytest.mark.parametrize("fault", sorted(STREAM_FAULTS))
def test_a_plain_request_meets_what_stands_for_a_stream_s_fault(fault: Fault) -> None:
    stand_in = ON_PLAIN_ANSWER.get(fault)
    wanted = perform(plain(), None if stand_in is None else Play(stand_in))
    assert perform(plain(), Play(fault)) == wanted


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        (Fault.HANG_BEFORE_HEAD, Ending.HOLD),
        (Fault.HANG_AFTER_HEAD, Ending.HOLD),
        (Fault.STALL_MID_STREAM, Ending.HOLD),
        (Fault.NO_DONE_HELD, Ending.HOLD),
        (Fault.RESET_BEFORE_ANSWER, Ending.ABORT),
        (Fault.CUT_ABORT, Ending.ABORT),
        (Fault.CUT_CLEAN, Ending.KEEP),
        (Fault.CLOSE_DELIMITED, Ending.CLOSE),
        (Fault.STALE_KEEP_ALIVE, Ending.DOOM),
    ],
)
def test_each_ending(fault: Fault, ending: Ending) -> None:
    assert perform(streamed(), Play(fault)).ending is ending


def test_pieces_cut_anywhere_but_where_an_event_ends() -> None:
    whole = b"".join(data for _, data in perform(streamed(), Play(Fault.CLOSE_DELIMITED)).writes[1:])
    ends = {at + 2 for at in range(len(whole)) if whole.startswith(b"\n\n", at)}
    for seed in range(50):
        exchange = streamed()
        exchange.rng = random.Random(seed)
        pieces = [data.split(b"\r\n", 1)[1][:-2] for _, data in perform(exchange, Play(Fault.SPLIT_BYTES)).writes]
        pieces[0] = pieces[0].split(b"\r\n\r\n", 1)[1].split(b"\r\n", 1)[1]
        pieces[-1] = pieces[-1].removesuffix(b"\r\n0\r\n")
        assert b"".join(pieces) == whole
        cuts = {len(b"".join(pieces[:n])) for n in range(1, len(pieces))}
        assert not cuts & ends


def test_a_rate_limit_s_wait_is_rounded_up() -> None:
    seconds = perform(plain(), Play(Fault.RATE_LIMIT, seconds=1.2)).writes[0][1]
    assert b"\r\nretry-after: 2\r\n" in seconds
    exchange = plain()
    exchange.now_s = 0.5
    date = perform(exchange, Play(Fault.RATE_LIMIT_DATE, seconds=3.0)).writes[0][1]
    assert b"\r\nretry-after: Thu, 01 Jan 1970 00:00:04 GMT\r\n" in date
    assert b"retry-after" not in perform(plain(), Play(Fault.RATE_LIMIT_BARE, seconds=3.0)).writes[0][1]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["model", "messages", "temperature", "tools"], b"tools"),
        (["model", "messages", "stream", "seed", "top_k"], b"seed"),
        (["model", "messages"], b"temperature"),
    ],
)
@pytest.mark.parametrize("fault", [Fault.UNSUPPORTED_400, Fault.UNSUPPORTED_422])
def test_an_unsupported_parameter_is_one_of_the_request_s(fault: Fault, given: list[str], named: bytes) -> None:
    exchange = plain()
    exchange.parameters = given
    assert b'"param":"%b"' % named in perform(exchange, Play(fault)).writes[0][1]
    assert b'"param":"n"' in perform(exchange, Play(fault, parameter="n")).writes[0][1]
