from __future__ import annotations

import logging
import threading

import pytest

from providerrank.engines.batches import BATCH, Batches


def test_everything_is_handed_over_in_order_and_in_batches() -> None:
    seen: list[list[int]] = []
    batches: Batches[int] = Batches(seen.append, name="t", most=1000, every_s=60)
    for number in range(150):
        batches.put(number)
    batches.close(5)
    assert [item for batch in seen for item in batch] == list(range(150))
    assert max(map(len, seen)) == BATCH
    assert batches.dropped == 0


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    seen: list[int] = []
    batches: Batches[int] = Batches(seen.extend, name="t", most=10, every_s=60)
    for number in range(25):
        batches.put(number)
    batches.close(5)
    assert seen == list(range(10))
    assert batches.dropped == 15


def test_work_goes_on_by_itself() -> None:
    done = threading.Event()
    batches: Batches[int] = Batches(lambda batch: done.set(), name="t", most=10, every_s=0.01)
    batches.put(1)
    assert done.wait(10)
    batches.close(5)


def test_one_bad_batch_does_not_end_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def handle(batch: list[int]) -> None:
        if 0 in batch:
            raise ValueError("my secret")
        seen.extend(batch)

    batches: Batches[int] = Batches(handle, name="the worker", most=1000, every_s=60)
    with caplog.at_level(logging.WARNING):
        for number in range(BATCH + 5):
            batches.put(number)
        batches.close(5)
    assert seen == list(range(BATCH, BATCH + 5))
    assert "worker=the worker error=ValueError" in caplog.text
    assert "my secret" not in caplog.text


def test_work_that_hangs_does_not_hold_up_the_end() -> None:
    release = threading.Event()
    batches: Batches[int] = Batches(lambda batch: assert_true(release.wait(30)), name="t", most=10, every_s=0.001)
    batches.put(1)
    batches.close(0.01)
    release.set()
    batches.close(5)


def assert_true(value: bool) -> None:
    assert value
