from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from providerrank.apps.logs import RequestLog, configure, make_line, tell_time, write_line
from providerrank.rules.ask import Ask
from providerrank.rules.finished import Finished, Trace
from tests.fake_admin import LLAMA, NOW_US, make_finished

logger = logging.getLogger("providerrank.test")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    before = root.handlers[:], root.level, uvicorn.level
    yield io.StringIO()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    uvicorn.setLevel(before[2])


def read(stream: io.StringIO) -> dict[str, object]:
    [line] = stream.getvalue().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def test_an_event_with_fields(stream: io.StringIO) -> None:
    configure("json", "info", stream)
    logger.warning("endpoint refuses us: endpoint=%s status=%s check=%s", "a/m", 401, "the key")
    found = read(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(found.pop("time")))
    assert found == {
        "level": "warning",
        "logger": "providerrank.test",
        "event": "endpoint refuses us",
        "endpoint": "a/m",
        "status": 401,
        "check": "the key",
    }


@pytest.mark.parametrize(
    ("message", "args", "event", "fields"),
    [
        ("url=%s endpoints=%d", ("http://x", 3), "test", {"url": "http://x", "endpoints": 3}),
        ("stopped", (), "stopped", {}),
        ("saved %s of %s: took_s=%s", (1, 2, 0.5), "saved 1 of 2", {"took_s": 0.5}),
        ("what was learned cannot be saved: %s", ("disk full",), "what was learned cannot be saved: disk full", {}),
        ("100%% of it=%s", ("x",), "100% of it=x", {}),
        ("a=%s then %s", ("x", "y"), "a=x then y", {}),
        ("level=%s", ("not the level",), "test", {}),
        ("thing=%s", (ValueError("x"),), "test", {"thing": "x"}),
        ("%(name)s", ({"name": "n"},), "n", {}),
        (ValueError("odd"), (), "odd", {}),
    ],
)
def test_events(
    stream: io.StringIO, message: object, args: tuple[object, ...], event: str, fields: dict[str, object]
) -> None:
    configure("json", "debug", stream)
    logger.info(message, *args)
    found = read(stream)
    assert found["event"] == event
    assert found["level"] == "info"
    assert {name: value for name, value in found.items() if name not in {"time", "level", "logger", "event"}} == fields


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_crash_tells_where_and_not_what(stream: io.StringIO, form: str) -> None:
    configure("json" if form == "json" else "text", "info", stream)
    try:
        int("my prompt is xyzzy")
    except ValueError:
        logger.exception("request crashed")
    [line] = stream.getvalue().splitlines()
    assert "xyzzy" not in line
    assert "request crashed" in line
    assert re.search(r"ValueError at test_logs\.py:\d+ test_a_crash", line)


def test_text_is_one_line_an_event(stream: io.StringIO) -> None:
    configure("text", "info", stream)
    logger.info("two\nlines: name=%s", "a\nb")
    [line] = stream.getvalue().splitlines()
    assert line.endswith("INFO providerrank.test two lines: name=a b")


def test_a_level_keeps_the_rest_out(stream: io.StringIO) -> None:
    configure("text", "error", stream)
    logger.warning("quiet")
    logger.error("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_exc_info_without_an_exception_is_no_crash(stream: io.StringIO) -> None:
    configure("json", "info", stream)
    logger.error("odd", exc_info=(None, None, None))
    assert "crash" not in read(stream)
    configure("text", "info", stream)
    logger.error("odd", exc_info=(None, None, None))


def test_the_line_of_a_request() -> None:
    finished = make_finished("req-7")
    finished.key = "team-a"
    finished.trace = Trace(0xABC, 1, None, 2)
    line = json.loads(write_line(make_line(finished), "json"))
    endpoint = finished.log[1].endpoint.id
    assert line == {
        "time": tell_time((NOW_US - 42_000_000 + 900_000) / 1e6),
        "level": "info",
        "logger": "providerrank.requests",
        "event": "request",
        "request_id": "req-7",
        "api": "chat",
        "model": LLAMA,
        "endpoint": endpoint,
        "attempts": 2,
        "status": 200,
        "ttft_s": 0.3,
        "total_s": 0.9,
        "input_tokens": 1200,
        "output_tokens": 200,
        "cost_usd": 0.00125,
        "key": "team-a",
        "trace_id": "00000000000000000000000000000abc",
    }
    text = write_line(make_line(finished), "text")
    assert text.startswith("2023-")
    assert (
        f" INFO providerrank.requests request: request_id=req-7 api=chat model={LLAMA} status=200 attempts=2 " in text
    )
    assert "ttft_s=0.300000" in text
    assert text.endswith("trace_id=00000000000000000000000000000abc\n")


def test_a_refused_request_has_no_endpoint_and_says_why() -> None:
    finished = Finished(
        b"r", "chat", Ask('no\nsuch "model'), False, 404, (), began_us=1, ended_us=1, code="model_not_found"
    )
    line = json.loads(write_line(make_line(finished), "json"))
    assert {"endpoint", "ttft_s", "input_tokens", "cost_usd", "key"}.isdisjoint(line)
    assert (line["code"], line["attempts"]) == ("model_not_found", 0)
    text = write_line(make_line(finished), "text")
    assert text.count("\n") == 1
    assert r'model="no\nsuch \"model"' in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_every_request_that_was_watched_is_written_by_the_end(form: str) -> None:
    stream = io.StringIO()
    requests = RequestLog("json" if form == "json" else "text", stream)
    for number in range(200):
        requests.watch(make_finished(f"r{number}"))
    requests.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 200
    assert all(f"r{number}" in line for number, line in enumerate(lines))


def test_without_a_stream_standard_error_is_written_to(capsys: pytest.CaptureFixture[str]) -> None:
    requests = RequestLog("json")
    requests.watch(make_finished())
    requests.close()
    assert '"request_id":"req-1"' in capsys.readouterr().err
    assert sys.stderr is not None


def test_a_probe_is_no_request() -> None:
    finished = make_finished("probe-7")
    finished.is_probe = True
    assert json.loads(write_line(make_line(finished), "json"))["event"] == "probe"
    assert " probe: request_id=probe-7 " in write_line(make_line(finished), "text")
