"""HTTP/1.1 beyond its vectors: what is told between messages, and what is written."""

from __future__ import annotations

import pytest

from providerrank.wire.errors import BadHttp, TooLarge
from providerrank.wire.http1 import MAX_HEADERS, RequestReader, ResponseReader, clean_value, write_chunk, write_head

POST = b"POST / HTTP/1.1\r\n"


def reader() -> RequestReader:
    return RequestReader(1_024, 1_024)


def test_a_client_that_waits_for_our_word_is_heard() -> None:
    requests = reader()
    requests.feed(POST + b"Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n")
    assert (requests.wants_continue, len(requests.requests)) == (True, 0)
    requests.feed(b"hi")
    assert (requests.wants_continue, len(requests.requests)) == (False, 1)
    assert requests.requests[0].body == b"hi"


def test_a_client_that_does_not_wait_needs_no_word() -> None:
    requests = reader()
    requests.feed(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\nhi")
    assert not requests.wants_continue


def test_another_expectation_is_ignored() -> None:
    requests = reader()
    requests.feed(POST + b"Content-Length: 2\r\nExpect: miracles\r\n\r\n")
    assert not requests.wants_continue


def test_a_request_half_received_is_seen() -> None:
    requests = reader()
    seen = [requests.busy]
    for data in (POST + b"Content-Length: 2\r\n", b"\r\nh", b"i"):
        requests.feed(data)
        seen.append(requests.busy)
    assert seen == [False, True, True, False]


def test_a_read_of_nothing_begins_no_request() -> None:
    requests = reader()
    requests.feed(b"")
    assert not requests.busy


def test_bounds_start_anew_with_each_request() -> None:
    requests = RequestReader(64, 8)
    for _ in range(10):
        requests.feed(POST + b"Content-Length: 8\r\n\r\n01234567")
        requests.feed(POST + b"Transfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n")
        requests.feed(b"0\r\nX: y\r\n\r\n")
    assert len(requests.requests) == 20
    assert all(request.body == b"01234567" for request in requests.requests)


def test_a_body_may_take_many_reads_past_the_bound_of_heads() -> None:
    requests = RequestReader(64, 10_000)
    requests.feed(POST + b"Content-Length: 10000\r\n\r\n")
    for _ in range(1_000):
        requests.feed(b"x" * 10)
    assert len(requests.requests[0].body) == 10_000


def test_every_request_of_a_connection_has_its_own_headers() -> None:
    requests = reader()
    for name in (b"x-a", b"x-b"):
        requests.feed(POST + b"Content-Length: 2\r\n" + name + b": 1\r\n\r\nhi")
    assert [sorted(request.headers) for request in requests.requests] == [
        [b"content-length", b"x-a"],
        [b"content-length", b"x-b"],
    ]


def test_a_head_may_be_as_long_as_its_bound() -> None:
    requests = RequestReader(64, 8)
    requests.feed(b"GET / HTTP/1.1\r\nX: " + b"x" * 45)
    with pytest.raises(TooLarge):
        requests.feed(b"x")


def test_what_is_refused_says_so() -> None:
    with pytest.raises(TooLarge, match="the request body has 9 bytes; at most 8 are taken") as refused:
        RequestReader(64, 8).feed(POST + b"Content-Length: 9\r\n\r\n")
    assert refused.value.status == 413
    with pytest.raises(TooLarge, match="head exceeds 64 bytes") as refused:
        RequestReader(64, 8).feed(POST + b"X: " + b"x" * 64)
    assert refused.value.status == 431
    with pytest.raises(BadHttp, match="without Upgrade"):
        reader().feed(POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    with pytest.raises(BadHttp, match=r"not valid HTTP/1\.1"):
        reader().feed(b"nonsense\r\n\r\n")


def test_the_bound_of_an_answers_head_is_not_one_of_its_body() -> None:
    answers = ResponseReader(lambda *_: None, lambda _: None, lambda: None, 64)
    answers.feed(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40)
    answers.feed(b"\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        answers.feed(b"x" * 10)
    assert answers.keep_alive


class Answers:
    """An upstream connection's reader and what it calls back, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.reader = ResponseReader(
            lambda status, _: self.calls.append(("head", status)),
            lambda data: self.calls.append(("data", data)),
            lambda: self.calls.append(("end", self.reader.keep_alive)),
        )


def test_the_chunks_of_a_read_come_as_one() -> None:
    answers = Answers()
    answers.reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n")
    answers.reader.feed(b"1\r\nc\r\n0\r\n\r\n")
    assert answers.calls == [("head", 200), ("data", b"ab"), ("data", b"c"), ("end", True)]


def test_every_answer_of_a_connection_has_its_own_headers() -> None:
    heard: list[list[bytes]] = []
    answers = ResponseReader(lambda _, headers: heard.append(sorted(headers)), lambda _: None, lambda: None)
    for name in (b"x-a", b"x-b"):
        answers.reset()
        answers.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + name + b": 1\r\n\r\nhi")
    assert heard == [[b"content-length", b"x-a"], [b"content-length", b"x-b"]]


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize("more", [ANSWER, b"HTTP/1.1 100 Continue\r\n\r\n", b"H", b"\r\nHTTP"], ids=range(4))
def test_a_second_answer_to_one_request_is_refused(more: bytes) -> None:
    answers = Answers()
    with pytest.raises(BadHttp, match="more than one answer"):
        answers.reader.feed(ANSWER + more)
    assert answers.calls == [("head", 200), ("data", b"hi"), ("end", True)]


def test_interim_answers_and_the_next_requests_are_no_second_answers() -> None:
    answers = Answers()
    for _ in range(2):
        answers.reader.reset()
        answers.reader.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" + ANSWER + b"\r\n")
    assert answers.calls == [("head", 200), ("data", b"hi"), ("end", True)] * 2


def test_a_head_is_bounded_alike_whatever_came_in_the_same_read() -> None:
    body = b"x" * 500
    head = POST + b"Content-Length: 500\r\nX: " + b"y" * 100 + b"\r\n\r\n"
    for max_head, is_taken in ((len(head), True), (100, False)):
        requests = RequestReader(max_head, 1_000)
        if is_taken:
            requests.feed(head + body)
            assert len(requests.requests) == 1
        else:
            with pytest.raises(TooLarge) as refused:
                requests.feed(head + body)
            assert refused.value.status == 431


def test_a_chunked_body_past_its_bound_in_one_read_is_refused() -> None:
    with pytest.raises(TooLarge) as refused:
        RequestReader(64, 8).feed(POST + b"Transfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n0\r\n\r\n")
    assert refused.value.status == 413


def test_headers_are_counted() -> None:
    for count, is_taken in ((MAX_HEADERS, True), (MAX_HEADERS + 1, False)):
        requests = RequestReader(10_000, 1)
        data = b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % number for number in range(count)) + b"\r\n"
        if is_taken:
            requests.feed(data)
            assert len(requests.requests[0].headers) == count
        else:
            with pytest.raises(TooLarge, match="256 headers"):
                requests.feed(data)


def test_how_far_an_answer_has_come() -> None:
    answers = Answers().reader
    assert (answers.started, answers.headers_seen, answers.eof()) == (False, False, False)
    answers.feed(b"HTTP/1.1 200")
    assert (answers.started, answers.headers_seen, answers.eof()) == (True, False, False)
    answers.feed(b" OK\r\n\r\n")
    assert (answers.started, answers.headers_seen, answers.eof()) == (True, True, True)
    answers.reset()
    assert (answers.started, answers.headers_seen, answers.eof()) == (False, False, False)


@pytest.mark.parametrize("head", [b"Content-Length: 2", b"Transfer-Encoding: chunked"])
def test_an_answer_with_an_end_of_its_own_is_cut_where_the_connection_ends(head: bytes) -> None:
    answers = Answers().reader
    answers.feed(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
    assert not answers.eof()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_does_not_wait_for_the_connection_to_end(status: bytes) -> None:
    answers = Answers()
    answers.reader.feed(b"HTTP/1.1 " + status + b"\r\n\r\n")
    assert answers.calls[-1][0] == "end"
    assert not answers.reader.eof()


def test_what_a_callback_raises_is_not_taken_for_bad_http() -> None:
    def raise_it(status: int, headers: dict[bytes, bytes]) -> None:
        raise LookupError(status, headers)

    answers = ResponseReader(raise_it, lambda _: None, lambda: None)
    with pytest.raises(LookupError):
        answers.feed(b"HTTP/1.1 200 OK\r\n\r\n")


def test_a_head_is_written() -> None:
    assert write_head(429, [(b"Retry-After", b"1"), (b"X-A", b"")]) == (
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nX-A: \r\n\r\n"
    )
    assert write_head(299, []) == b"HTTP/1.1 299 Status\r\n\r\n"
    assert write_head(299, [(b"A", b"1")], b"B: 2\r\n") == b"HTTP/1.1 299 Status\r\nA: 1\r\nB: 2\r\n\r\n"


def test_a_chunk_is_written() -> None:
    assert write_chunk(b"0123456789") == b"a\r\n0123456789\r\n"


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        (b"abc 123 -_.", True),
        (b"x" * 128, True),
        (b"", False),
        (b"x" * 129, False),
        (b"a\tb", False),
        (b"a\r\nb", False),
        (b"a\0", False),
        (b"\x7f", False),
        ("é".encode(), False),
    ],
)
def test_a_value_that_can_stand_in_a_header_of_ours(value: bytes, clean: bool) -> None:
    assert clean_value(value) == (value if clean else None)


@pytest.mark.parametrize("body", [b"", b"Content-Length: 2\r\n"])
def test_what_came_whole_before_an_upgrade_is_kept_and_the_upgrade_is_not(body: bytes) -> None:
    requests = reader()
    upgrade = POST.replace(b"/ ", b"/upgrade ") + body + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nhi"
    with pytest.raises(BadHttp, match="without Upgrade"):
        requests.feed(POST + b"Content-Length: 0\r\n\r\n" + upgrade)
    assert [request.path for request in requests.requests] == [b"/"]


def test_a_request_is_in_its_body_once_its_head_is_over() -> None:
    requests = reader()
    seen = []
    for part in (b"POST / HT", b"TP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1", b"2"):
        requests.feed(part)
        seen.append((requests.busy, requests.in_body))
    assert seen == [(True, False), (True, True), (False, False)]
