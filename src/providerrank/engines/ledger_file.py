"""Budgets in a small file: shared by the processes of one machine, kept over restarts, whole after kill -9.

::

    header   magic, version, words of a row                                   HEADER_BYTES
    record   one for each key ever configured, in the order of their coming   2 * COPY_BYTES
      copy     SHA-256 of the key's name, sequence number, row (``rules.budget``), CRC-32 of all that
      copy     the same, one step older or newer

A step on a record is taken under ``flock``, which the kernel releases when its holder dies: read both copies, take
the newer whole one, change it, write it over the *other* with the next sequence number. A process killed in
mid-write leaves a copy whose checksum is wrong, and the one before it is still there: each step happens or does not.

Why not memory shared by ``mmap``: whoever truncates the file under it (a backup put back with ``cp``) kills every
process by SIGBUS, and so does a full disk. Reading and writing are system calls of a microsecond each that
fail with an error. (docs/adr/0007.)

Nobody has to repair what a dead process held: holds are charged when they are made. That they are no longer
*held* is found out by a lock of each worker's own on one byte past the file, by whoever opens the ledger next.

A file with another version, or that is no ledger, is put aside under another name, with a warning, and a new one
begun; so is a record of which neither copy is whole. What reaches the disk when is the kernel's business: after a
loss of power up to half a minute of charges may be missing.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from providerrank.engines.errors import LedgerUnavailableError
from providerrank.gateway.ports import LedgerLost
from providerrank.rules import budget
from providerrank.rules.budget import ROW_WORDS, WORKERS, Budget, Hold, Refusal, Row, Standing

logger = logging.getLogger("providerrank.ledger")

MAGIC: Final = b"PRBUDGET"
VERSION: Final = 1
HEADER: Final = struct.Struct("=8sII")
HEADER_BYTES: Final = 64
"""Room for more than is there now."""

DIGEST_BYTES: Final = 32
COPY_WORDS: Final = DIGEST_BYTES // 8 + 1 + ROW_WORDS + 1
COPY_BYTES: Final = COPY_WORDS * 8
RECORD_BYTES: Final = 2 * COPY_BYTES
SEQUENCE: Final = DIGEST_BYTES // 8
"""Which word of a copy; the row follows it, and the checksum the row."""
ROW: Final = SEQUENCE + 1
CHECKSUM: Final = COPY_WORDS - 1

SLOT_LOCKS_AT: Final = 1 << 40
"""Where the bytes are that live workers keep locked: past any record. Nothing is written there."""


class LedgerFile:
    """A ``Ledger`` in a file. Opened by each process for itself; an object carried over a fork opens it anew."""

    def __init__(self, path: Path) -> None:
        """Raises ``LedgerUnavailableError``."""
        self._path = path
        self._fd = -1
        self._pid = 0
        self.worker = WORKERS - 1
        """Whose holds are ours; the last place is shared by whoever finds no other."""
        try:
            self._open()
        except OSError as error:
            raise LedgerUnavailableError(str(path), _describe(error)) from None

    def open(self, name: str) -> FileAccount:
        """The account of a key, by its configured name. Raises ``LedgerLost``."""
        account = FileAccount(self, name)
        with self.step() as fd:
            account.find(fd)
        return account

    def close(self) -> None:
        """Let go of the file: what this process still held stays charged."""
        if self._fd >= 0 and self._pid == os.getpid():
            os.close(self._fd)
        self._fd = -1

    @contextmanager
    def step(self) -> Iterator[int]:
        """The file, and nobody else on it until the block ends. Raises ``LedgerLost`` for whatever fails on it."""
        if self._fd < 0:
            raise LedgerLost(f"{self._path} is closed.")
        try:
            if self._pid != os.getpid():
                # After a fork the lock would be one and the same for both.
                self._open()
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield self._fd
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as error:
            raise LedgerLost(f"{self._path} cannot be used: {_describe(error)}.") from None

    # ---- opening -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._fd, self._pid = self._open_whole(), os.getpid()
        self.worker = next((at for at in range(WORKERS - 1) if _lock_slot(self._fd, at)), WORKERS - 1)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            self._reclaim()
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _open_whole(self) -> int:
        """The file with a header that is ours; another one is put aside first."""
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Somebody else who starts may have put aside what was just opened.
            if _is_at(fd, self._path):
                wrong = _find_wrong(fd)
                if not wrong:
                    fcntl.flock(fd, fcntl.LOCK_UN)
                    return fd
                aside = self._path.with_name(f"{self._path.name}.{time.time_ns()}.aside")
                self._path.rename(aside)
                logger.warning("%s %s: it is kept as %s, and all budgets begin anew", self._path, wrong, aside)
            os.close(fd)

    def _reclaim(self) -> None:
        """Note that what dead workers held is held no longer; it stays charged."""
        dead = [at for at in range(WORKERS - 1) if at == self.worker or not _is_slot_locked(self._fd, at)]
        record = Record()
        for at in find_records(self._fd):
            row = record.read(self._fd, at)
            if row is not None and budget.reclaim(row, dead):
                record.write(self._fd, at)

    def mend(self, name: str) -> None:
        """A record is not where it was: somebody emptied or replaced the file under us. See to the header."""
        wrong = _find_wrong(self._fd)
        if wrong:
            os.ftruncate(self._fd, 0)
            _find_wrong(self._fd)
        logger.warning("%s was damaged while in use: what key %r had used may be forgotten", self._path, name)


class FileAccount:
    """One record of the file."""

    __slots__ = ("_at", "_digest", "_ledger", "_name", "_record")

    def __init__(self, ledger: LedgerFile, name: str) -> None:
        self._ledger = ledger
        self._name = name
        self._digest = hashlib.sha256(name.encode()).digest()
        self._record = Record()
        self._at = 0

    def reserve(self, limits: Budget, now_us: int, tokens: int, cost_nusd: int) -> Hold | Refusal:
        """Admit one request, or say which limit is out. Raises ``LedgerLost``."""
        with self._ledger.step() as fd:
            row = self._read(fd)
            result = budget.reserve(row, self._ledger.worker, limits, now_us, tokens, cost_nusd)
            if isinstance(result, Hold):
                self._record.write(fd, self._at)
            return result

    def settle(self, hold: Hold, now_us: int, input_tokens: int, output_tokens: int, cost_nusd: int) -> None:
        """Replace a hold by what was used. Raises ``LedgerLost``."""
        with self._ledger.step() as fd:
            row = self._read(fd)
            budget.settle(row, self._ledger.worker, hold, now_us, input_tokens, output_tokens, cost_nusd)
            self._record.write(fd, self._at)

    def read(self, now_us: int) -> Standing:
        """How the key stands; changes nothing in the file. Raises ``LedgerLost``."""
        with self._ledger.step() as fd:
            return budget.read(self._read(fd), now_us)

    def _read(self, fd: int) -> Row:
        row = self._record.read(fd, self._at)
        if row is None or self._record.digest != self._digest:
            self._ledger.mend(self._name)
            row = self.find(fd)
        return row

    def find(self, fd: int) -> Row:
        """Look for the key's record, and begin one at the end where there is none."""
        record = self._record
        end = HEADER_BYTES
        for at in find_records(fd):
            row = record.read(fd, at)
            if row is not None and record.digest == self._digest:
                self._at = at
                return row
            end = at + RECORD_BYTES
        self._at = end
        return record.begin(fd, end, self._digest)


class Record:
    """One record in this process's memory, between being read and being written."""

    __slots__ = ("_buffer", "_bytes", "_fresh", "_words")

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(RECORD_BYTES))
        self._bytes = (self._buffer[:COPY_BYTES], self._buffer[COPY_BYTES:])
        self._words = (self._bytes[0].cast("q"), self._bytes[1].cast("q"))
        self._fresh = 0
        """Which copy is being changed: the other one is what the file holds."""

    @property
    def digest(self) -> bytes:
        """Of the name of the key that this is the record of."""
        return bytes(self._bytes[self._fresh][:DIGEST_BYTES])

    def read(self, fd: int, at: int) -> Row | None:
        """The row to change, as the file has it; None where neither copy is whole."""
        words = self._words
        if os.preadv(fd, [self._buffer], at) != RECORD_BYTES:
            return None
        newer = 0 if words[0][SEQUENCE] >= words[1][SEQUENCE] else 1
        for kept in (newer, 1 - newer):
            if words[kept][CHECKSUM] == self._compute_checksum(kept):
                fresh = self._fresh = 1 - kept
                self._bytes[fresh][:] = self._bytes[kept]
                return words[fresh][ROW:CHECKSUM]
        return None

    def begin(self, fd: int, at: int, digest: bytes) -> Row:
        """A new record: whole, and nothing used."""
        self._buffer[:] = bytes(RECORD_BYTES)
        self._bytes[1][:DIGEST_BYTES] = digest
        self._fresh = 1
        self.write(fd, at)
        self._fresh = 0
        self._bytes[0][:] = self._bytes[1]
        self.write(fd, at)
        return self._words[0][ROW:CHECKSUM]

    def write(self, fd: int, at: int) -> None:
        """Write what was changed as the newest copy, beside the one it came from."""
        fresh = self._fresh
        words = self._words[fresh]
        words[SEQUENCE] += 1
        words[CHECKSUM] = self._compute_checksum(fresh)
        if os.pwrite(fd, self._bytes[fresh], at + fresh * COPY_BYTES) != COPY_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _compute_checksum(self, copy: int) -> int:
        return zlib.crc32(self._bytes[copy][:-8])


def find_records(fd: int) -> range:
    """Where whole records begin."""
    return range(HEADER_BYTES, os.fstat(fd).st_size - RECORD_BYTES + 1, RECORD_BYTES)


def _find_wrong(fd: int) -> str:
    """What keeps the file from being a ledger of this version; an empty one is made one."""
    begun = os.pread(fd, HEADER_BYTES, 0)
    if not begun:
        begun = HEADER.pack(MAGIC, VERSION, ROW_WORDS).ljust(HEADER_BYTES, b"\0")
        os.pwrite(fd, begun, 0)
    if len(begun) < HEADER_BYTES or not begun.startswith(MAGIC):
        return "is not a ledger, or a damaged one"
    _, version, words = HEADER.unpack_from(begun)
    return (
        "" if (version, words) == (VERSION, ROW_WORDS) else f"has version {version}, and this program writes {VERSION}"
    )


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _describe(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


# ---- who is alive ----------------------------------------------------------------------------------------------------
# Locks of open files (not of processes), so that a second ledger in one process neither shares nor releases them.

if sys.platform == "linux":
    FLOCK: Final = struct.Struct("hhqqi4x")
    """C's ``struct flock``: type, whence, start, length, pid."""

    def _lock_slot(fd: int, worker: int) -> bool:
        """Take a place; False where somebody has it, or the file system knows no such locks."""
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, SLOT_LOCKS_AT + worker, 1, 0))
        except OSError:
            return False
        return True

    def _is_slot_locked(fd: int, worker: int) -> bool:
        """Whether another open ledger has the place; where that cannot be told, it is taken to."""
        asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, SLOT_LOCKS_AT + worker, 1, 0)
        try:
            told = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
        except OSError:
            return True
        found: int = FLOCK.unpack(told)[0]
        return found != fcntl.F_UNLCK

else:
    # Nobody's place can be told: all share the last one, and holds of the dead count as held until the day ends.
    def _lock_slot(fd: int, worker: int) -> bool:
        del fd, worker
        return False

    def _is_slot_locked(fd: int, worker: int) -> bool:
        del fd, worker
        return True
