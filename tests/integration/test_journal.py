"""A neuron's journal: decided once, charged first, whole after kill -9, and one process at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from providerrank.engines.journal_file import JournalFile
from providerrank.market.journal import DAY_US, Call, Charge, JournalBusy, JournalLost, Purpose
from providerrank.rules.cells import CHAT, Cell

CELL = Cell("a/m", CHAT)
CHILD = """
import sys
from providerrank.engines.journal_file import JournalFile
from providerrank.market.journal import Call, Purpose
from providerrank.rules.cells import Cell
journal = JournalFile(sys.argv[1])
for number in range(10**6):
    call = Call(f"{sys.argv[2]}/{number}", 3, Purpose.PROBE, Cell("a/m", "chat"), number, 10, 5)
    journal.charge(call, None)
    print(number, flush=True)
    journal.settle(call.id, 7, b"note")
"""


def make_call(name: str = "one", *, nusd: int = 10, at_us: int = 5, epoch: int = 3) -> Call:
    return Call(name, epoch, Purpose.PROBE, CELL, 0, nusd, at_us)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "neuron.journal"


def test_the_first_decision_stands(path: Path) -> None:
    journal = JournalFile(path)
    assert journal.get(3, "salt") is None
    assert journal.decide(3, "salt", b"first") == b"first"
    assert journal.decide(3, "salt", b"second") == b"first"
    assert journal.decide(4, "salt", b"other") == b"other"
    journal.close()
    again = JournalFile(path)
    assert again.get(3, "salt") == b"first"
    assert again.get_latest("salt", 4) == (3, b"first")
    assert again.get_latest("salt", 3) is None
    again.close()


def test_a_call_is_charged_once_and_within_the_day_s_limit() -> None:
    journal = JournalFile(":memory:")
    assert journal.charge(make_call("one"), 25) is Charge.TAKEN
    assert journal.charge(make_call("one"), 25) is Charge.KNOWN
    assert journal.charge(make_call("two"), 25) is Charge.TAKEN
    assert journal.charge(make_call("three"), 25) is Charge.BROKE
    assert journal.charge(make_call("next day", at_us=DAY_US), 25) is Charge.TAKEN
    assert (journal.get_spent_nusd(0), journal.get_spent_nusd(DAY_US)) == (20, 10)
    journal.settle("one", 4, b"note")
    journal.settle("one", 9, b"again")
    assert journal.get_spent_nusd(0) == 14
    assert journal.charge(make_call("three"), 25) is Charge.TAKEN
    assert [(call.id, call.nusd, call.note) for call in journal.calls([3], [Purpose.PROBE])] == [
        ("one", 4, b"note"),
        ("two", 10, None),
        ("next day", 10, None),
        ("three", 10, None),
    ]
    assert journal.calls([3], [Purpose.REPLAY]) == journal.calls([2], [Purpose.PROBE]) == []


def test_what_is_forgotten_stays_paid_for() -> None:
    journal = JournalFile(":memory:")
    journal.charge(make_call("old", epoch=1), None)
    journal.decide(1, "salt", b"x")
    journal.decide(2, "salt", b"y")
    journal.forget(2)
    assert journal.calls([1], [Purpose.PROBE]) == []
    assert journal.get(1, "salt") is None
    assert journal.get(2, "salt") == b"y"
    assert journal.get_spent_nusd(0) == 10


def test_a_second_process_is_kept_away(path: Path) -> None:
    journal = JournalFile(path)
    with pytest.raises(JournalBusy, match="in use by another process"):
        JournalFile(path)
    journal.close()
    JournalFile(path).close()


def test_what_is_no_journal_is_left_alone(path: Path) -> None:
    path.write_bytes(b"something else entirely, and long enough to be looked at" * 50)
    with pytest.raises(JournalLost, match="cannot be used as a journal"):
        JournalFile(path)
    assert path.read_bytes().startswith(b"something else")
    with pytest.raises(JournalLost):
        JournalFile(path.parent / "nowhere" / "neuron.journal")


def test_killed_at_any_instant_nothing_charged_is_lost_and_the_books_balance(path: Path) -> None:
    for life in range(6):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(life)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        told = -1
        for line in child.stdout:
            told = int(line)
            if told >= 5 + 7 * life:
                break
        os.kill(child.pid, signal.SIGKILL)
        child.stdout.read()
        child.wait()
        child.stdout.close()
        journal = JournalFile(path)
        calls = journal.calls([3], [Purpose.PROBE])
        assert {f"{life}/{number}" for number in range(told + 1)} <= {call.id for call in calls}
        assert sum(call.nusd for call in calls) == journal.get_spent_nusd(0)
        assert sum(call.note is None for call in calls) <= life + 1
        journal.close()
