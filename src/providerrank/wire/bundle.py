r"""A miner's submission for one epoch, as a file.

Lines of canonical JSON, each ended by one ``\n``, in this order:

    header      what it is, for which epoch, whose, how many of what, and the Merkle root of all lines after the second
    signature   the hotkey's, over the header
    records, forecasts, signals

The root covers every line after the signature, byte for byte, in order; so the signature over the header covers the
whole file, and one line can be shown later with a proof of ``log2(n)`` hashes. Header and signature come first: who
reads a stream knows whose it is, and how much to expect, before reading more. What was prompted and answered is not in
it; the miner keeps that apart and shows it for the leaves a validator picks (``wire.opening``).

Before the deadline a miner publishes only ``compute_commitment(header, salt)``. The header names the hotkey, so whoever
copies a revealed bundle commits to a header that is not its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from providerrank.rules.consistency import HASH, Window, find_time_fault
from providerrank.rules.params import VERSION as RULES_VERSION
from providerrank.rules.records import Forecast, Record, Signal
from providerrank.wire import canonical
from providerrank.wire.bundle_errors import (
    AlteredBundle,
    DuplicateRecord,
    InconsistentBundle,
    MalformedBundle,
    MisSignedBundle,
    OversizedBundle,
    WrongEpoch,
    WrongVersion,
)
from providerrank.wire.bundle_lines import MAX_LINE, Key, Line, decode_line, encode_line, get_key
from providerrank.wire.merkle import Tree
from providerrank.wire.signature import SIGNATURE_BYTES, BadAddress, Hotkey, is_signed

FORMAT: Final = "providerrank-bundle"
VERSION: Final = 1
"""Of the file format; the version of the rules stands beside it."""
SIGNING_DOMAIN: Final = b"providerrank/bundle/1\n"
COMMIT_DOMAIN: Final = b"providerrank/commit/1\n"
SALT_BYTES: Final = 32

MAX_BYTES: Final = 64 * 1024 * 1024
"""Of a whole file: room for ``MAX_RECORDS`` records of the usual 380 bytes and as many forecasts as there are cells."""
MAX_RECORDS: Final = 100_000
"""An epoch of 72 minutes at 20 requests a second."""
MAX_FORECASTS: Final = 20_000
MAX_SIGNALS: Final = 5_000
MAX_HEADER: Final = 2_048
MAX_VERSION_NAME: Final = 32


@dataclass(frozen=True, slots=True)
class Header:
    """The signed head of a bundle. ``root`` is 64 hex digits; ``created_us`` Unix microseconds."""

    netuid: int
    epoch: int
    hotkey: str
    records: int
    forecasts: int
    signals: int
    root: str
    created_us: int
    rules: str = RULES_VERSION
    version: int = VERSION

    @property
    def size(self) -> int:
        """Leaves of the tree."""
        return self.records + self.forecasts + self.signals


@dataclass(frozen=True, slots=True)
class Contents:
    """What a miner has to say."""

    records: tuple[Record, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    signals: tuple[Signal, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole bundle, read and verified or just built. ``lines`` are the leaves as they were signed."""

    header: Header
    signature: bytes
    contents: Contents
    lines: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The file."""
        return b"".join(self.stream())

    def stream(self) -> Iterator[bytes]:
        """The file, line by line."""
        yield encode_header(self.header) + b"\n"
        yield canonical.encode({"signature": self.signature.hex()}) + b"\n"
        for line in self.lines:
            yield line + b"\n"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a reader holds a bundle to; None: whatever the header says."""

    netuid: int | None = None
    epoch: int | None = None
    hotkey: str | None = None
    window: Window | None = None
    rules: str = RULES_VERSION


def build_bundle(contents: Contents, key: Hotkey, *, netuid: int, epoch: int, created_us: int) -> Bundle:
    """Check, encode, hash and sign what a miner has to say. Raises ``BundleRefused`` for what would be refused."""
    lines = tuple(encode_line(line) for line in _iterate(contents))
    header = Header(
        netuid=netuid,
        epoch=epoch,
        hotkey=key.address,
        records=len(contents.records),
        forecasts=len(contents.forecasts),
        signals=len(contents.signals),
        root=Tree(lines).root.hex(),
        created_us=created_us,
    )
    _check_counts(header)
    seen: set[Key] = set()
    for number, line in enumerate(_iterate(contents), FIRST_LINE):
        _check_line(line, number, header, None, seen)
    bundle = Bundle(header, key.sign(SIGNING_DOMAIN + encode_header(header)), contents, lines)
    if sum(map(len, bundle.stream())) > MAX_BYTES:
        raise OversizedBundle(f"past {MAX_BYTES} bytes: leave records out")
    return bundle


def read_bundle(chunks: Iterable[bytes], expected: Expected | None = None) -> Bundle:
    """Read and verify a bundle from a stream of bytes of any cut; memory stays within the bounds whatever comes.

    Raises ``BundleRefused``: its type and ``code`` say why, its ``line`` where. The cheap refusals come first: nothing
    after the second line is read of a bundle that is mis-signed, of another epoch or too large.
    """
    expected = expected or Expected()
    lines = _split(chunks)
    header_bytes = _take(lines, 1)
    header = decode_header(header_bytes)
    signature = _read_signature(_take(lines, 2))
    _check_expected(header, expected)
    _check_signature(header, header_bytes, signature)

    leaves: list[bytes] = []
    values: list[Line] = []
    seen: set[Key] = set()
    for number, data in enumerate(lines, FIRST_LINE):
        if len(leaves) == header.size:
            raise MalformedBundle(f"more lines than the header's {header.size}", number)
        value = decode_line(data, number)
        _check_line(value, number, header, expected.window, seen)
        leaves.append(data)
        values.append(value)
    if len(leaves) != header.size:
        raise MalformedBundle(f"ends after {len(leaves)} of the header's {header.size} lines")
    if Tree(leaves).root.hex() != header.root:
        raise AlteredBundle("the lines do not have the signed root: at least one was changed, lost or moved")
    return Bundle(header, signature, _sort_out(values), tuple(leaves))


def compute_commitment(header: Header, salt: bytes) -> str:
    """Hash to publish before the deadline: 64 hex digits. ``salt`` is 32 random bytes, shown with the bundle."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    return hashlib.sha256(COMMIT_DOMAIN + salt + encode_header(header)).hexdigest()


def encode_header(header: Header) -> bytes:
    """Return the header's line: what is signed and committed to."""
    return canonical.encode(
        {
            "counts": {"forecasts": header.forecasts, "records": header.records, "signals": header.signals},
            "created_us": header.created_us,
            "epoch": header.epoch,
            "format": FORMAT,
            "hotkey": header.hotkey,
            "netuid": header.netuid,
            "root": header.root,
            "rules": header.rules,
            "version": header.version,
        }
    )


def decode_header(data: bytes) -> Header:
    """Read a header's line. Raises ``MalformedBundle``, ``WrongVersion`` or ``OversizedBundle``."""
    if len(data) > MAX_HEADER:
        raise OversizedBundle(f"a header of more than {MAX_HEADER} bytes", 1)
    try:
        fields = canonical.decode(data)
    except canonical.NotCanonical as error:
        raise MalformedBundle(str(error), 1) from None
    match fields:
        case {"format": "providerrank-bundle", "version": int(version)} if version != VERSION:
            raise WrongVersion(f"format version {version}, not {VERSION}", 1)
        case {
            "counts": {"forecasts": int(forecasts), "records": int(records), "signals": int(signals)},
            "created_us": int(created_us),
            "epoch": int(epoch),
            "hotkey": str(hotkey),
            "netuid": int(netuid),
            "root": str(root),
            "rules": str(rules),
        }:
            numbers = (netuid, epoch, records, forecasts, signals, created_us)
            header = Header(netuid, epoch, hotkey, records, forecasts, signals, root, created_us, rules)
        case _:
            raise MalformedBundle("not a bundle's header", 1)
    if any(isinstance(number, bool) or number < 0 for number in numbers):
        raise MalformedBundle("a header with a number that is none, or is negative", 1)
    if HASH.fullmatch(root) is None:
        raise MalformedBundle("the root is not 64 lower-case hex digits", 1)
    if encode_header(header) != data:
        raise MalformedBundle("a header with fields it should not have", 1)
    _check_counts(header)
    return header


FIRST_LINE: Final = 3
"""Where the leaves begin, counting from 1."""


def _iterate(contents: Contents) -> Iterator[Line]:
    yield from contents.records
    yield from contents.forecasts
    yield from contents.signals


def _sort_out(values: list[Line]) -> Contents:
    """Take the three kinds apart; ``_check_line`` has seen that each is where the counts put it."""
    return Contents(
        tuple(value for value in values if isinstance(value, Record)),
        tuple(value for value in values if isinstance(value, Forecast)),
        tuple(value for value in values if isinstance(value, Signal)),
    )


def _check_counts(header: Header) -> None:
    for name, count, bound in (
        ("records", header.records, MAX_RECORDS),
        ("forecasts", header.forecasts, MAX_FORECASTS),
        ("signals", header.signals, MAX_SIGNALS),
    ):
        if count > bound:
            raise OversizedBundle(f"{count} {name}, at most {bound}", 1)


def _check_expected(header: Header, expected: Expected) -> None:
    if header.rules != expected.rules:
        raise WrongVersion(f"made for rules {header.rules[:MAX_VERSION_NAME]!r}, not {expected.rules!r}", 1)
    if expected.netuid is not None and header.netuid != expected.netuid:
        raise WrongEpoch(f"made for subnet {header.netuid}, not {expected.netuid}", 1)
    if expected.epoch is not None and header.epoch != expected.epoch:
        raise WrongEpoch(f"made for epoch {header.epoch}, not {expected.epoch}", 1)
    if expected.hotkey is not None and header.hotkey != expected.hotkey:
        raise MisSignedBundle(f"the hotkey is {header.hotkey[:64]!r}, not {expected.hotkey}", 1)


def _check_signature(header: Header, header_bytes: bytes, signature: bytes) -> None:
    try:
        signed = is_signed(SIGNING_DOMAIN + header_bytes, signature, header.hotkey)
    except BadAddress as error:
        raise MisSignedBundle(f"the hotkey {error}", 1) from None
    if not signed:
        raise MisSignedBundle(f"the signature is not by {header.hotkey} over this header", 2)


def _check_line(line: Line, number: int, header: Header, window: Window | None, seen: set[Key]) -> None:
    at = number - FIRST_LINE
    kind = Record if at < header.records else Forecast if at < header.records + header.forecasts else Signal
    if not isinstance(line, kind):
        raise MalformedBundle(f"a {type(line).__name__.lower()} where the counts put a {kind.__name__.lower()}", number)
    key = get_key(line)
    if key in seen:
        raise DuplicateRecord(f"a second {type(line).__name__.lower()} of {' '.join(map(str, key))}", number)
    seen.add(key)
    if isinstance(line, Record):
        fault = find_time_fault(line, header.created_us, window)
        if fault is not None:
            raise InconsistentBundle(f"record {' '.join(map(str, key))} {fault}", number)


def _read_signature(data: bytes) -> bytes:
    try:
        match canonical.decode(data):
            case {"signature": str(text), **rest} if not rest and len(text) == 2 * SIGNATURE_BYTES:
                signature = bytes.fromhex(text)
                if signature.hex() == text:
                    return signature
    except (canonical.NotCanonical, ValueError):
        pass
    raise MalformedBundle(f"not a signature of {2 * SIGNATURE_BYTES} lower-case hex digits", 2)


def _take(lines: Iterator[bytes], number: int) -> bytes:
    data = next(lines, None)
    if data is None:
        raise MalformedBundle("ends before its header and signature", number)
    return data


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream into its lines, within the bounds. The last line has its newline too, or the file is cut short."""
    rest = b""
    size = 0
    number = 1
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_BYTES:
            raise OversizedBundle(f"past {MAX_BYTES} bytes")
        data = rest + chunk
        start = 0
        while (end := data.find(b"\n", start, start + MAX_LINE + 1)) >= 0:
            yield data[start:end]
            start = end + 1
            number += 1
        rest = data[start:]
        if len(rest) > MAX_LINE:
            raise OversizedBundle(f"a line of more than {MAX_LINE} bytes", number)
    if rest:
        raise MalformedBundle("cut off in the middle of a line", number)
