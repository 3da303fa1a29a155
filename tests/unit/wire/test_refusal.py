"""Our own errors, and what is carried as it came. How endpoints' errors are read: see the vectors."""

from __future__ import annotations

import msgspec
import pytest

from providerrank.rules.attempt import Fault
from providerrank.wire.raw import Raw, is_null_or, is_present, shorten, starts_with
from providerrank.wire.refusal import read_error, write_error


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("Insufficient_Quota", "insufficient_quota"),
        ("1301", "1301"),
        ("my secret is xyzzy", ""),
        ("x" * 65, ""),
        ("", ""),
    ],
)
def test_an_error_code_is_kept_where_it_is_a_bare_name(code: str, kept: str) -> None:
    body = msgspec.json.encode({"error": {"message": "m", "code": code}})
    assert read_error(500, body).code == kept


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_our_errors_have_the_shape_an_sdk_expects(status: int, kind: str) -> None:
    assert msgspec.json.decode(write_error(status, 'no "x"', code="c", param="p")) == {
        "error": {"message": 'no "x"', "type": kind, "param": "p", "code": "c"}
    }
    assert msgspec.json.decode(write_error(status, "")) == {
        "error": {"message": "", "type": kind, "param": None, "code": None}
    }


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b'{"error":{"message":"\xff"}}', b'{"error":' + b"[" * 100_000, b'{"error":', b"\0"],
)
def test_bytes_that_say_nothing(body: bytes) -> None:
    reading = read_error(400, body)
    assert (reading.fault, reading.message, reading.param) == (Fault.CLIENT_ERROR, "", None)


def test_a_message_that_is_not_text_is_shown_as_far_as_it_is() -> None:
    assert read_error(400, b'{"message":"is not supported \xff"}').fault is Fault.UNSUPPORTED


def test_raw_values() -> None:
    assert is_present(Raw(b"0"))
    assert not is_present(Raw(b"null"))
    assert not is_present(Raw())
    assert starts_with(Raw(b"[1]"), b"[")
    assert not starts_with(Raw(b""), b"[")
    assert is_null_or(Raw(b"null"))
    assert is_null_or(Raw(b"1"), b"0", b"1")
    assert not is_null_or(Raw(b"10"), b"1")
    assert not is_null_or(Raw(b"123456789"), b"123456789")


def test_words_are_shortened_to_one_line() -> None:
    assert shorten(b" a\n b\t\xff ") == "a b \N{REPLACEMENT CHARACTER}"
    assert shorten(b"x" * 10, 10) == "x" * 10
    assert shorten(b"x" * 11, 10) == "x" * 9 + "…"


def test_an_endpoint_s_words_steer_no_terminal() -> None:
    assert shorten(b"red \x1b[31m alert") == "red \ufffd[31m alert"
