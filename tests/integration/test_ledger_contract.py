"""Every ledger keeps the same promises; what only a file promises (restarts, other processes, damage) is below them."""

from __future__ import annotations

import logging
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from providerrank.engines import ledger_file
from providerrank.engines.errors import LedgerUnavailableError
from providerrank.engines.ledger_file import COPY_BYTES, HEADER_BYTES, RECORD_BYTES, LedgerFile
from providerrank.engines.ledger_lazy import LazyLedger
from providerrank.engines.ledger_memory import MemoryLedger
from providerrank.gateway.ports import Account, Ledger, LedgerLost
from providerrank.rules.budget import DAY_US, WORKERS, Budget, Hold, Limit, Refusal
from tests.integration import ledger_child
from tests.integration.ledger_child import HELD_NUSD

CHILD = Path(ledger_child.__file__)
NOW = 20_000 * DAY_US + DAY_US // 2
BUDGET = Budget(requests_per_minute=3, tokens_per_minute=100, spend_per_day_nusd=1_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.budgets"


@pytest.fixture(params=["memory", "file", "lazy"])
def ledger(request: pytest.FixtureRequest, path: Path) -> Iterator[Ledger]:
    make: dict[str, Callable[[], Ledger]] = {
        "memory": MemoryLedger,
        "file": lambda: LedgerFile(path),
        "lazy": lambda: LazyLedger(lambda: LedgerFile(path)),
    }
    one = make[request.param]()
    yield one
    one.close()


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], LedgerFile]]:
    """Opens the file once more, as another process would."""
    every: list[LedgerFile] = []

    def once_more() -> LedgerFile:
        every.append(LedgerFile(path))
        return every[-1]

    yield once_more
    for one in every:
        one.close()


def hold(account: Account, tokens: int = 0, cost: int = 0) -> Hold:
    result = account.reserve(BUDGET, NOW, tokens, cost)
    assert isinstance(result, Hold)
    return result


# ---- every ledger ----------------------------------------------------------------------------------------------------


def test_a_new_account_is_empty(ledger: Ledger) -> None:
    standing = ledger.open("a").read(NOW)
    assert (standing.requests, standing.spent_nusd, standing.held_nusd, standing.minute_tokens) == (0, 0, 0, 0)


def test_what_is_reserved_is_charged_and_settled(ledger: Ledger) -> None:
    account = ledger.open("a")
    first, second = hold(account, 60, 600), hold(account, 40, 400)
    refusal = account.reserve(BUDGET, NOW, 0, 1)
    assert isinstance(refusal, Refusal)
    assert (refusal.limit, refusal.used, refusal.held) == (Limit.SPEND, 1_000, 1_000)
    account.settle(first, NOW, 7, 8, 123)
    account.settle(second, NOW, 1, 2, 77)
    standing = account.read(NOW)
    assert (standing.spent_nusd, standing.held_nusd, standing.minute_tokens) == (200, 0, 18)
    assert (standing.requests, standing.input_tokens, standing.output_tokens) == (2, 8, 10)


def test_accounts_are_apart_and_found_again_by_name(ledger: Ledger) -> None:
    one, other = ledger.open("one"), ledger.open("öther")
    hold(one, cost=10)
    hold(other, cost=20)
    hold(ledger.open("one"), cost=5)
    assert [account.read(NOW).spent_nusd for account in (one, other, ledger.open("new"))] == [15, 20, 0]


def test_reading_changes_nothing(ledger: Ledger) -> None:
    account = ledger.open("a")
    hold(account, 10, 10)
    account.read(NOW + DAY_US)
    assert account.read(NOW).spent_nusd == 10


# ---- a file ----------------------------------------------------------------------------------------------------------


def test_what_was_charged_outlasts_the_process(opened: Callable[[], LedgerFile]) -> None:
    first = opened()
    account = first.open("a")
    account.settle(hold(account, 10, 500), NOW, 3, 4, 300)
    first.close()
    again = opened().open("a")
    assert again.read(NOW).spent_nusd == 300
    assert isinstance(again.reserve(BUDGET, NOW, 0, 701), Refusal)
    assert isinstance(again.reserve(BUDGET, NOW, 0, 700), Hold)


def test_nobody_else_may_read_it(path: Path, opened: Callable[[], LedgerFile]) -> None:
    opened()
    assert path.stat().st_mode & 0o077 == 0


def test_two_who_have_it_open_see_one_account(opened: Callable[[], LedgerFile]) -> None:
    one, other = opened(), opened()
    assert one.worker != other.worker
    mine, theirs = one.open("a"), other.open("a")
    held = hold(mine, cost=900)
    assert isinstance(theirs.reserve(BUDGET, NOW, 0, 101), Refusal)
    mine.settle(held, NOW, 0, 0, 100)
    hold(theirs, cost=900)
    assert (mine.read(NOW).spent_nusd, mine.read(NOW).held_nusd) == (1_000, 900)


def test_what_the_dead_held_stays_charged_and_is_held_by_nobody(opened: Callable[[], LedgerFile]) -> None:
    dead, alive = opened(), opened()
    hold(dead.open("a"), cost=300)
    kept = alive.open("a")
    held = hold(kept, cost=200)
    dead.close()
    third = opened()
    assert third.worker == dead.worker
    standing = third.open("a").read(NOW)
    assert (standing.spent_nusd, standing.held_nusd) == (500, 200)
    kept.settle(held, NOW, 0, 0, 50)
    assert kept.read(NOW).spent_nusd == 350


def test_past_the_last_place_it_is_shared(monkeypatch: pytest.MonkeyPatch, opened: Callable[[], LedgerFile]) -> None:
    monkeypatch.setattr(ledger_file, "_lock_slot", lambda fd, worker: False)
    monkeypatch.setattr(ledger_file, "_is_slot_locked", lambda fd, worker: True)
    one, other = opened(), opened()
    assert one.worker == other.worker == WORKERS - 1
    held, kept = hold(one.open("a"), cost=300), hold(other.open("a"), cost=300)
    one.open("a").settle(held, NOW, 0, 0, 0)
    other.open("a").settle(kept, NOW, 0, 0, 0)
    assert one.open("a").read(NOW).held_nusd == 0


def test_a_forked_child_does_not_share_the_lock(path: Path, opened: Callable[[], LedgerFile]) -> None:
    ledger = opened()
    account = ledger.open("a")
    with ledger.step():
        child = os.fork()
        if not child:
            # It must wait for the parent's step to end, and then be counted beside it.
            try:
                hold(account, cost=10)
            finally:
                os._exit(0)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    assert os.waitpid(child, 0)[1] == 0
    assert account.read(NOW).spent_nusd == 10


# ---- several processes -----------------------------------------------------------------------------------------------


Child = subprocess.Popen[str]


@contextmanager
def started(path: Path, requests: int, mode: str) -> Iterator[Child]:
    command = [sys.executable, str(CHILD), str(path), "shared", str(requests), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def go(child: Child) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def get_counts(child: Child) -> tuple[int, int, int]:
    assert child.stdout is not None
    admitted, refused, used = map(int, child.stdout.readline().split())
    return admitted, refused, used


def test_four_processes_never_exceed_by_one_nano_usd(path: Path) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(started(path, 1_500, "settle")) for _ in range(4)]
        for child in children:
            go(child)
        counts = [get_counts(child) for child in children]
        assert [child.wait(60) for child in children] == [0] * 4
    ledger = LedgerFile(path)
    standing = ledger.open("shared").read(ledger_now())
    ledger.close()
    used = sum(count[2] for count in counts)
    assert standing.spent_nusd == used
    assert standing.held_nusd == 0
    assert standing.requests == sum(count[0] for count in counts)
    assert used <= 2_000_001
    # Near the end each refuses what the others' holds leave no room for, and tries again: all but one hold is used up.
    assert used > 2_000_001 - HELD_NUSD
    assert sum(count[1] for count in counts)
    assert sum(count[0] > 0 for count in counts) > 1


def test_a_killed_process_leaves_its_holds_charged(path: Path) -> None:
    with started(path, 100, "hold") as child:
        go(child)
        admitted, _, held = get_counts(child)
        assert admitted == 100
        before = LedgerFile(path)
        account = before.open("shared")
        assert account.read(ledger_now()).held_nusd == held, "its owner is alive"
        child.kill()
        child.wait(60)
    after = LedgerFile(path)
    standing = after.open("shared").read(ledger_now())
    assert (standing.spent_nusd, standing.held_nusd) == (held, 0)
    before.close()
    after.close()


def test_killed_at_any_moment_every_step_happened_or_did_not(path: Path) -> None:
    for round_ in range(12):
        with started(path, 1_000_000, "endless") as child:
            go(child)
            ledger = LedgerFile(path)
            account = ledger.open("shared")
            target = account.read(ledger_now()).spent_nusd + 5_000 * (round_ % 3 + 1)
            while account.read(ledger_now()).spent_nusd < target:
                assert child.poll() is None
            child.kill()
            child.wait(60)
            ledger.close()
        ledger = LedgerFile(path)
        standing = ledger.open("shared").read(ledger_now())
        ledger.close()
        # Each request is charged 1,000, or 3,000 where it was cut off between its two steps.
        assert standing.held_nusd == 0
        assert (standing.spent_nusd - standing.requests * 1_000) % 2_000 == 0
        assert (standing.spent_nusd - standing.requests * 1_000) // 2_000 <= round_ + 1


def ledger_now() -> int:
    return time.time_ns() // 1000


# ---- damage ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_ledger_is_put_aside(
    path: Path, opened: Callable[[], LedgerFile], caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"something of somebody else's")
    assert opened().open("a").read(NOW).spent_nusd == 0
    [aside] = path.parent.glob("*.aside")
    assert aside.read_bytes() == b"something of somebody else's"
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "is not a ledger" in record.message
    assert "all budgets begin anew" in record.message


def test_another_version_is_put_aside(
    path: Path, opened: Callable[[], LedgerFile], caplog: pytest.LogCaptureFixture
) -> None:
    first = opened()
    hold(first.open("a"), cost=10)
    first.close()
    data = bytearray(path.read_bytes())
    struct.pack_into("=I", data, 8, 0)
    path.write_bytes(data)
    assert opened().open("a").read(NOW).spent_nusd == 0
    assert "has version 0, and this program writes 1" in caplog.text


def test_half_a_write_is_as_if_it_had_not_been(path: Path, opened: Callable[[], LedgerFile]) -> None:
    account = opened().open("a")
    hold(account, cost=10)
    hold(account, cost=20)
    data = path.read_bytes()
    for at in (HEADER_BYTES, HEADER_BYTES + COPY_BYTES):
        path.write_bytes(data[: at + 100] + b"\xff" * 8 + data[at + 108 :])
        assert opened().open("a").read(NOW).spent_nusd in (10, 30)
    path.write_bytes(data)
    assert account.read(NOW).spent_nusd == 30


def test_a_record_lost_in_the_middle_begins_anew_and_says_so(
    path: Path, opened: Callable[[], LedgerFile], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = opened()
    one, other = ledger.open("one"), ledger.open("other")
    hold(one, cost=10)
    hold(other, cost=20)
    data = path.read_bytes()
    path.write_bytes(data[:HEADER_BYTES] + b"\xff" * RECORD_BYTES + data[HEADER_BYTES + RECORD_BYTES :])
    hold(one, cost=5)
    assert (one.read(NOW).spent_nusd, other.read(NOW).spent_nusd) == (5, 20)
    assert "what key 'one' had used may be forgotten" in caplog.text
    assert opened().open("one").read(NOW).spent_nusd == 5


def test_a_file_emptied_under_it_is_made_anew(
    path: Path, opened: Callable[[], LedgerFile], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = opened()
    one, other = ledger.open("one"), ledger.open("other")
    held = hold(one, cost=10)
    os.truncate(path, 0)
    hold(other, cost=20)
    one.settle(held, NOW + 1, 0, 0, 1)
    assert "damaged while in use" in caplog.text
    # What was held before is of a day that is forgotten.
    assert (one.read(NOW).spent_nusd, other.read(NOW).spent_nusd) == (0, 20)
    os.truncate(path, 30)
    assert other.read(NOW).spent_nusd == 0


def test_a_backup_put_back_in_place_counts(path: Path, opened: Callable[[], LedgerFile]) -> None:
    ledger = opened()
    one, other = ledger.open("one"), ledger.open("other")
    hold(one, cost=10)
    hold(other, cost=20)
    data = path.read_bytes()
    first, second = data[HEADER_BYTES : HEADER_BYTES + RECORD_BYTES], data[HEADER_BYTES + RECORD_BYTES :]
    path.write_bytes(data[:HEADER_BYTES] + second + first)
    hold(one, cost=1)
    hold(other, cost=2)
    assert (one.read(NOW).spent_nusd, other.read(NOW).spent_nusd) == (11, 22)


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailableError, match=r"where the budgets of \[\[keys\]\] are kept, cannot be used"):
        LedgerFile(tmp_path / "nowhere" / "x.budgets")


def test_a_lazy_ledger_opens_when_it_is_asked_and_tries_again(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    ledger = LazyLedger(lambda: LedgerFile(folder / "x.budgets"))
    ledger.close()
    with pytest.raises(LedgerLost):
        ledger.open("a")
    folder.mkdir()
    hold(ledger.open("a"), cost=10)
    assert ledger.open("a").read(NOW).spent_nusd == 10
    ledger.close()
    assert ledger.open("a").read(NOW).spent_nusd == 10, "closed, it opens again"
    ledger.close()


def test_a_file_that_fails_in_use_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = LedgerFile(path)
    account = ledger.open("a")
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: 1)
    with pytest.raises(LedgerLost, match="no space left"):
        hold(account)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerLost):
        account.read(NOW)
