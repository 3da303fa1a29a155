"""Who goes first when not everyone can be served at once."""

from __future__ import annotations

import pytest

from providerrank.gateway.priority import HIGH, LOW, NORMAL, WAKE_US, Priorities
from providerrank.gateway.settings import BuyerKey, Priority


def key(priority: Priority) -> BuyerKey:
    return BuyerKey("k", "secret", priority=priority)


@pytest.mark.parametrize(
    ("tier", "of_key", "expected"),
    [
        (None, None, NORMAL),
        (None, LOW, LOW),
        ("gold", LOW, HIGH),
        ("gold", None, HIGH),
        ("plain", LOW, LOW),
        ("unknown", None, NORMAL),
    ],
)
def test_the_tier_comes_before_the_key(tier: str | None, of_key: Priority | None, expected: Priority) -> None:
    assert Priorities({"gold": HIGH}, (), 100).get(tier, of_key) == expected


def test_without_priorities_everybody_may_fill_the_gateway() -> None:
    priorities = Priorities({}, (key(NORMAL),), 100)
    assert not priorities.has_any
    assert priorities.get_most(NORMAL) == 100


def test_the_rest_leave_room_for_who_is_high() -> None:
    priorities = Priorities({}, (key(HIGH), key(LOW)), 100)
    assert priorities.has_any
    assert [priorities.get_most(one) for one in (HIGH, NORMAL, LOW)] == [100, 95, 75]


def test_without_anybody_high_nothing_is_kept_for_them() -> None:
    priorities = Priorities({"slow": LOW}, (), 4)
    assert [priorities.get_most(one) for one in (NORMAL, LOW)] == [4, 3]
    assert Priorities({"slow": LOW}, (), 1).get_most(LOW) == 1


def test_those_who_waited_go_on_in_order() -> None:
    assert WAKE_US[HIGH][1] <= WAKE_US[NORMAL][0]
    assert WAKE_US[NORMAL][1] <= WAKE_US[LOW][0]
