"""What clients are told of budgets, to the word."""

from __future__ import annotations

import pytest

from providerrank.gateway.keys import KeyRefused, _refuse, format_duration, get_presented, write_limits
from providerrank.gateway.settings import BuyerKey
from providerrank.gateway.stats import Stats
from providerrank.rules.budget import DAY_US, Budget, Limit, Refusal

MIDNIGHT = 20_000 * DAY_US
KEY = BuyerKey("team", "sk-secret", budget=Budget(60, 10_000, 5_000_000_000))


def refuse(limit: Limit, allowed: int, used: int, asked: int, wait_us: int | None, held: int = 0) -> KeyRefused:
    refusal = Refusal(limit, allowed, used, held, asked, wait_us, 60, 9_000, 1_500_000)
    return _refuse(KEY, refusal, MIDNIGHT - 3_600_000_000)


def test_durations() -> None:
    assert [format_duration(us) for us in (-1, 0, 1, 250_000, 999_001)] == ["0ms", "0ms", "1ms", "250ms", "1s"]
    assert [format_duration(us) for us in (1_000_000, 12_500_000, 59_999_000, 60_000_000, 61_050_000)] == [
        "1s",
        "12.5s",
        "59.999s",
        "1m0s",
        "1m1.05s",
    ]


def test_only_limits_that_there_are_have_headers() -> None:
    assert write_limits(Budget(spend_per_day_nusd=1), 5, 5, 5) == ()
    assert write_limits(Budget(tokens_per_minute=10), 5, 12, 30_000_000) == (
        (b"x-ratelimit-limit-tokens", b"10"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"30s"),
    )


def test_requests_a_minute() -> None:
    error = refuse(Limit.REQUESTS, 60, 60, 1, 12_000_001)
    assert str(error) == (
        "Rate limit of key 'team' reached: 60 of 60 requests_per_minute are used. Try again in 12.001s."
    )
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert error.headers == (
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"0"),
        (b"x-ratelimit-reset-requests", b"1.5s"),
        (b"x-ratelimit-limit-tokens", b"10000"),
        (b"x-ratelimit-remaining-tokens", b"1000"),
        (b"x-ratelimit-reset-tokens", b"1.5s"),
        (b"Retry-After", b"13"),
    )
    error = refuse(Limit.REQUESTS, 0, 0, 1, None)
    assert str(error) == "Key 'team' may make no requests: its requests_per_minute is 0."


def test_tokens_a_minute() -> None:
    error = refuse(Limit.TOKENS, 10_000, 9_900, 1_200, 500_000)
    assert str(error) == (
        "Rate limit of key 'team' reached: 9,900 of 10,000 tokens_per_minute are used, and this request may take "
        "1,200 tokens. Try again in 500ms."
    )
    assert error.headers[-1] == (b"Retry-After", b"1")
    error = refuse(Limit.TOKENS, 1, 0, 12_000, None)
    assert str(error) == (
        "This request may take 12,000 tokens, more than the tokens_per_minute of key 'team', 1: "
        "shorten the prompt or lower max_tokens."
    )
    assert error.headers[-1] == (b"x-should-retry", b"false")
    assert "1 token." in str(refuse(Limit.TOKENS, 10, 10, 1, 1))


def test_spend_a_day() -> None:
    error = refuse(Limit.SPEND, 5_000_000_000, 4_990_000_000, 40_000_000, 3_600_000_000)
    assert str(error) == (
        "Key 'team' has $4.99 of its $5.00 for today charged, and this request may cost $0.04: "
        "the budget is renewed at 2024-10-04T00:00:00Z."
    )
    assert (error.status, error.code) == (429, "insufficient_quota")
    assert error.headers[-2:] == ((b"Retry-After", b"3600"), (b"x-should-retry", b"false"))


def test_spend_that_requests_under_way_may_give_back() -> None:
    error = refuse(Limit.SPEND, 5_000_000_000, 4_990_000_000, 40_000_000, 3_600_000_000, held=1_000_000_000)
    assert str(error) == (
        "Key 'team' has $4.99 of its $5.00 for today charged, $1.00 of it set aside for requests under way, and this "
        "request may cost $0.04: try again when they have ended."
    )
    assert error.code == "rate_limit_exceeded"
    assert error.headers[-1] == (b"Retry-After", b"1")


def test_one_request_dearer_than_the_day() -> None:
    error = refuse(Limit.SPEND, 1_500, 0, 2_000_000_000_000, None)
    assert str(error) == (
        "This request may cost $2,000.00, more than the spend_per_day of key 'team', $0.0000015: lower max_tokens."
    )
    assert error.headers[-1] == (b"x-should-retry", b"false")


def test_no_error_holds_the_key_itself() -> None:
    assert "sk-secret" not in str(refuse(Limit.REQUESTS, 60, 60, 1, 1))
    assert "sk-secret" not in repr(KEY)


@pytest.mark.parametrize(
    ("headers", "presented"),
    [
        ({}, []),
        ({b"authorization": b"Bearer a"}, [b"a"]),
        ({b"authorization": b"bEARER  a "}, [b"a"]),
        ({b"authorization": b"Basic a"}, []),
        ({b"authorization": b"a"}, []),
        ({b"x-api-key": b"b"}, [b"b"]),
        ({b"authorization": b"Bearer a", b"x-api-key": b"b"}, [b"a", b"b"]),
    ],
)
def test_presented_keys(headers: dict[bytes, bytes], presented: list[bytes]) -> None:
    assert get_presented(headers) == presented


def test_a_key_that_comes_back_keeps_its_counts() -> None:
    stats = Stats()
    stats.add_key("a").count_use("x/m", 1, 2, 3)
    stats.add_key("a").count_use("x/m", 10, 20, 30)
    stats.add_key("a").count_request(0)
    stats.add_key("b").count_request(404)
    assert stats.key_tokens == {("a", "x/m", "input"): 11, ("a", "x/m", "output"): 22}
    assert stats.key_cost_nusd == {("a", "x/m"): 33}
    assert stats.key_requests == {("a", "cancelled"): 1, ("b", "4xx"): 1}
