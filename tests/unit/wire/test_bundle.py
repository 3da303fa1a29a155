from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.cells import Cell
from providerrank.rules.consistency import Window
from providerrank.rules.observation import Outcome
from providerrank.rules.records import PPM, Forecast, Record, Route, Signal
from providerrank.wire import bundle as bundle_module
from providerrank.wire import canonical
from providerrank.wire.bundle import (
    COMMIT_DOMAIN,
    MAX_BYTES,
    MAX_RECORDS,
    SIGNING_DOMAIN,
    Bundle,
    Contents,
    Expected,
    build_bundle,
    compute_commitment,
    encode_header,
    read_bundle,
)
from providerrank.wire.bundle_errors import (
    AlteredBundle,
    BundleRefused,
    DuplicateRecord,
    InconsistentBundle,
    MalformedBundle,
    MisSignedBundle,
    OversizedBundle,
    WrongVersion,
)
from providerrank.wire.bundle_lines import MAX_LINE, encode_line
from providerrank.wire.merkle import Tree
from providerrank.wire.signature import Hotkey
from tests.bundles import CONTENTS, CREATED_US, FAILED, FORECAST, KEY, RECORD, SIGNAL, START_US, make_bundle

BUNDLE = make_bundle()
DATA = BUNDLE.encode()


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def sign(lines: list[bytes], **fields: object) -> bytes:
    """A file whose signature and root are right whatever else is wrong with it."""
    header = json.loads(encode_header(replace(BUNDLE.header, root=Tree(lines).root.hex())))
    header.update(fields)
    head = canonical.encode(header)
    signature = canonical.encode({"signature": KEY.sign(SIGNING_DOMAIN + head).hex()})
    return b"".join(line + b"\n" for line in (head, signature, *lines))


def with_line(at: int, line: bytes) -> bytes:
    lines = list(BUNDLE.lines)
    lines[at] = line
    return sign(lines)


def refusal(data: bytes, expected: Expected | None = None) -> BundleRefused:
    with pytest.raises(BundleRefused) as refused:
        read_bundle([data], expected)
    return refused.value


@pytest.mark.parametrize("size", [1, 2, 7, 100, len(DATA)])
def test_a_bundle_is_read_back_from_a_stream_of_any_cut(size: int) -> None:
    assert read_bundle(cut(DATA, size)) == BUNDLE


def test_what_is_expected_of_it_is_met() -> None:
    window = Window(START_US, CREATED_US)
    assert read_bundle([DATA], Expected(3, 7, KEY.address, window, BUNDLE.header.rules)) == BUNDLE


def test_a_bundle_may_be_empty() -> None:
    empty = make_bundle(Contents())
    assert read_bundle([empty.encode()]) == empty


NAMES = st.builds("{}/{}".format, st.sampled_from("abc"), st.text("xyz0.-", min_size=1, max_size=6))
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
NUMBERS = st.integers(0, 10**9)


@st.composite
def records(draw: st.DrawFn) -> Record:
    completed = draw(st.booleans())
    ttft_us, more = draw(NUMBERS), draw(NUMBERS)
    status, check = draw(
        st.sampled_from([(Outcome.SUCCESS, "pass"), (Outcome.SCHEMA_VIOLATION, "schema")])
        if completed
        else st.sampled_from([(Outcome.FAILURE, "none"), (Outcome.RATE_LIMITED, "none")])
    )
    return Record(
        Cell(draw(NAMES), draw(st.sampled_from(["chat", "code"]))),
        draw(NUMBERS),
        draw(HASHES),
        draw(HASHES),
        draw(HASHES),
        draw(NUMBERS),
        ttft_us if completed else draw(st.none() | st.just(ttft_us)),
        ttft_us + more,
        draw(st.none() | NUMBERS),
        draw(st.none() | NUMBERS),
        status,
        check,
    )


@st.composite
def forecasts(draw: st.DrawFn) -> Forecast:
    ttft = sorted(draw(st.lists(st.integers(0, 2 * 10**7), min_size=6, max_size=6)))
    total = [low + draw(st.integers(0, 10**6)) for low in ttft]
    shares = st.integers(0, PPM)
    return Forecast(Cell(draw(NAMES), "chat"), tuple(ttft), tuple(sorted(total)), draw(shares), draw(shares))


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    rest = PPM
    weights = []
    for left in range(len(names), 1, -1):
        weights.append(draw(st.integers(0, rest // left)))
        rest -= weights[-1]
    return Signal(draw(NAMES), "chat", tuple(map(Route, names, sorted([*weights, rest], reverse=True))))


@st.composite
def contents(draw: st.DrawFn) -> Contents:
    return Contents(
        tuple(draw(st.lists(records(), max_size=6, unique_by=lambda record: (record.cell, record.index)))),
        tuple(draw(st.lists(forecasts(), max_size=3, unique_by=lambda forecast: forecast.cell))),
        tuple(draw(st.lists(signals(), max_size=2, unique_by=lambda signal: signal.model))),
    )


@given(contents())
def test_whatever_is_built_verifies(content: Contents) -> None:
    made = make_bundle(content, created_us=10**12)
    read = read_bundle([made.encode()])
    assert read == made
    assert read.contents == content


@given(contents(), st.data())
def test_any_changed_byte_is_refused(content: Contents, data: st.DataObject) -> None:
    written = bytearray(make_bundle(content, created_us=10**12).encode())
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BundleRefused):
        read_bundle([bytes(written)])


def test_every_changed_byte_of_one_bundle_is_refused() -> None:
    for at in range(len(DATA)):
        changed = DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :]
        assert refusal(changed).code


@given(st.data())
def test_any_lost_or_repeated_or_moved_piece_is_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(DATA) - 1))
    end = data.draw(st.integers(start + 1, len(DATA)))
    assert refusal(DATA[:start] + DATA[end:]).code
    assert refusal(DATA[:end] + DATA[start:]).code


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    assert refusal(noise).code
    assert refusal(DATA.split(b"\n")[0] + b"\n" + noise).code


def change(**fields: object) -> Callable[[], bytes]:
    return lambda: sign(list(BUNDLE.lines), **fields)


def columns(line: object, at: int, value: object) -> bytes:
    made = json.loads(encode_line(line))  # type: ignore[arg-type]
    made[at] = value
    return canonical.encode(made)


@pytest.mark.parametrize(
    ("data", "kind", "line", "words"),
    [
        (b"", MalformedBundle, 1, "ends before"),
        (DATA.split(b"\n")[0] + b"\n", MalformedBundle, 2, "ends before"),
        (b"{}\n{}\n", MalformedBundle, 1, "not a bundle's header"),
        (b"{ }\n{}\n", MalformedBundle, 1, "canonical"),
        (b"[]\n{}\n", MalformedBundle, 1, "not a bundle's header"),
        (DATA[:-1], MalformedBundle, 6, "cut off in the middle of a line"),
        (DATA + b"\n", MalformedBundle, 7, "more lines than the header's 4"),
        (DATA[:-1] + b"x" * (MAX_LINE + 1), OversizedBundle, 6, "a line of more than"),
        (DATA[: DATA.rindex(b"\n", 0, -1) + 1], MalformedBundle, None, "ends after 3 of the header's 4 lines"),
        (b"x" * (2_049) + b"\n", OversizedBundle, 1, "a header of more than"),
        (change(version=2)(), WrongVersion, 1, "format version 2, not 1"),
        (change(version="1")(), MalformedBundle, 1, "fields it should not have"),
        (change(version=True)(), MalformedBundle, 1, "fields it should not have"),
        (change(more=1)(), MalformedBundle, 1, "fields it should not have"),
        (change(format="other")(), MalformedBundle, 1, "fields it should not have"),
        (change(netuid=-1)(), MalformedBundle, 1, "number that is none, or is negative"),
        (change(epoch=True)(), MalformedBundle, 1, "number that is none"),
        (change(root="A" * 64)(), MalformedBundle, 1, "the root is not"),
        (change(counts={"records": True, "forecasts": 1, "signals": 1})(), MalformedBundle, 1, "number that is none"),
        (
            change(counts={"records": MAX_RECORDS + 1, "forecasts": 1, "signals": 1})(),
            OversizedBundle,
            1,
            "100001 records, at most 100000",
        ),
        (change(rules="0")(), WrongVersion, 1, "made for rules '0', not"),
        (change(hotkey="5x")(), MisSignedBundle, 1, "not an sr25519 address"),
        (change(hotkey=Hotkey(bytes(32)).address)(), MisSignedBundle, 2, "the signature is not by"),
        (change(root="0" * 64)(), AlteredBundle, None, "do not have the signed root"),
        (with_line(0, b"{}"), MalformedBundle, 3, "not a line of one of the kinds"),
        (with_line(0, b"[1.5]"), MalformedBundle, 3, "not an integer"),
        (with_line(0, b""), MalformedBundle, 3, "not JSON"),
        (with_line(0, encode_line(FORECAST)), MalformedBundle, 3, "a forecast where the counts put a record"),
        (with_line(3, encode_line(FORECAST)), MalformedBundle, 6, "a forecast where the counts put a signal"),
        (with_line(2, encode_line(SIGNAL)), MalformedBundle, 5, "a signal where the counts put a forecast"),
        (with_line(0, columns(RECORD, 3, True)), MalformedBundle, 3, "not a line of one of the kinds"),
        (with_line(0, columns(RECORD, 3, "0")), MalformedBundle, 3, "not a line of one of the kinds"),
        (with_line(0, columns(RECORD, 12, 6)), MalformedBundle, 3, "not a line of one of the kinds"),
        (with_line(2, columns(FORECAST, 3, [None] * 6)), MalformedBundle, 5, "a quantile is not an integer"),
        (with_line(2, columns(FORECAST, 4, [True] * 6)), MalformedBundle, 5, "a quantile is not an integer"),
        (with_line(2, columns(FORECAST, 5, False)), MalformedBundle, 5, "not a line of one of the kinds"),
        (with_line(3, columns(SIGNAL, 3, [["a", True]])), MalformedBundle, 6, "a route is not a pair"),
        (with_line(3, columns(SIGNAL, 3, [["a"]])), MalformedBundle, 6, "a route is not a pair"),
        (with_line(0, columns(RECORD, 8, 900_001)), InconsistentBundle, 3, "ttft 900001 us is past total"),
        (with_line(2, columns(FORECAST, 5, -1)), InconsistentBundle, 5, "success_ppm -1"),
        (with_line(3, columns(SIGNAL, 3, [["a", 1]])), InconsistentBundle, 6, "weights sum to 1,"),
        (with_line(0, columns(RECORD, 7, CREATED_US)), InconsistentBundle, 3, "after the bundle was made"),
        (with_line(1, encode_line(replace(FAILED, index=0))), DuplicateRecord, 4, "a second record of alpha/m chat 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_with_its_place(data: bytes, kind: type, line: int | None, words: str) -> None:
    refused = refusal(data)
    assert type(refused) is kind
    assert refused.line == line
    assert words in refused.reason
    assert str(refused).startswith(f"line {line}: " if line else refused.reason)


@pytest.mark.parametrize(
    "second",
    [b"{}", b"[]", b'{"signature":1}', b'{"signature":"00"}', b'{"signature":"' + b"A" * 128 + b'"}',
     b'{"signature":"' + b"g" * 128 + b'"}', b'{"a":1,"signature":"' + b"0" * 128 + b'"}', b"{"],
)  # fmt: skip
def test_a_malformed_signature(second: bytes) -> None:
    first, _, *rest = DATA.split(b"\n")
    refused = refusal(b"\n".join([first, second, *rest]))
    assert (refused.code, refused.line) == ("malformed", 2)


@pytest.mark.parametrize(
    ("expected", "code", "words"),
    [
        (Expected(netuid=4), "wrong-epoch", "made for subnet 3, not 4"),
        (Expected(epoch=8), "wrong-epoch", "made for epoch 7, not 8"),
        (Expected(rules="99"), "wrong-version", "not '99'"),
        (Expected(hotkey=Hotkey(bytes(32)).address), "mis-signed", "the hotkey is"),
        (Expected(window=Window(START_US + 1, CREATED_US)), "inconsistent", "outside its epoch"),
    ],
)
def test_what_was_expected_and_is_not_so(expected: Expected, code: str, words: str) -> None:
    refused = refusal(DATA, expected)
    assert refused.code == code
    assert words in refused.reason


def test_two_forecasts_and_two_signals_of_one_thing() -> None:
    for content in (
        Contents((), (FORECAST, replace(FORECAST, schema_ppm=0)), ()),
        Contents((), (), (SIGNAL, replace(SIGNAL, routes=(Route("x", PPM),)))),
        Contents((RECORD, RECORD), (), ()),
    ):
        with pytest.raises(DuplicateRecord):
            make_bundle(content)


def test_what_would_be_refused_is_not_signed() -> None:
    with pytest.raises(InconsistentBundle, match="past total"):
        make_bundle(Contents((replace(RECORD, ttft_us=10**9),)))
    with pytest.raises(InconsistentBundle, match="after the bundle was made"):
        make_bundle(CONTENTS, created_us=START_US)
    with pytest.raises(OversizedBundle, match="6000 signals, at most 5000"):
        make_bundle(Contents((), (), tuple(replace(SIGNAL, model=f"m{n}") for n in range(6_000))))


def test_bounds_hold_however_much_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[bytes]:
        yield DATA.split(b"\n")[0]
        while True:
            yield b"x" * 65_536

    with pytest.raises(OversizedBundle, match="line of more than"):
        read_bundle(endless())
    monkeypatch.setattr(bundle_module, "MAX_BYTES", len(DATA) - 1)
    with pytest.raises(OversizedBundle, match="past"):
        read_bundle([DATA])
    with pytest.raises(OversizedBundle, match="leave records out"):
        make_bundle()
    assert MAX_BYTES > 400 * MAX_RECORDS


def test_nothing_is_read_past_a_bad_signature() -> None:
    first = DATA.split(b"\n")[0]
    signature = Hotkey(bytes(32)).sign(SIGNING_DOMAIN + first)

    def stream() -> Iterator[bytes]:
        yield first + b"\n" + canonical.encode({"signature": signature.hex()}) + b"\n"
        raise AssertionError("read on")

    with pytest.raises(MisSignedBundle):
        read_bundle(stream())


def test_signatures_differ_and_commitments_do_not() -> None:
    again = make_bundle()
    assert again.signature != BUNDLE.signature
    salt = bytes(range(32))
    commitment = compute_commitment(again.header, salt)
    assert commitment == compute_commitment(BUNDLE.header, salt)
    assert commitment == hashlib.sha256(COMMIT_DOMAIN + salt + DATA.split(b"\n")[0]).hexdigest()
    assert commitment != compute_commitment(BUNDLE.header, bytes(32))
    assert commitment != compute_commitment(make_bundle(epoch=8).header, salt)
    with pytest.raises(ValueError, match="32 bytes, not 4"):
        compute_commitment(BUNDLE.header, b"salt")


def test_codes_are_the_documented_ones() -> None:
    assert {kind.code for kind in BundleRefused.__subclasses__()} == {
        "malformed", "oversized", "mis-signed", "altered", "wrong-version", "wrong-epoch", "duplicate-record",
        "inconsistent",
    }  # fmt: skip


def test_a_file_is_what_the_reference_says() -> None:
    """One whole file but for its signature, so that the format cannot change unseen."""
    lines = DATA.decode().split("\n")
    hashes = ",".join(f'"{digit * 64}"' for digit in "01a")
    assert lines[0] == (
        '{"counts":{"forecasts":1,"records":2,"signals":1},"created_us":1760000600000000,"epoch":7,'
        f'"format":"providerrank-bundle","hotkey":"{KEY.address}","netuid":3,"root":"{BUNDLE.header.root}",'
        f'"rules":"{BUNDLE.header.rules}","version":1}}'
    )
    assert lines[2:] == [
        f'["record","alpha/m","chat",0,{hashes},1760000000000000,250000,900000,120,30,0,"pass"]',
        f'["record","alpha/m","chat",1,{hashes},1760000000000000,null,900000,null,null,1,"none"]',
        '["forecast","alpha/m","chat",[12000000,12100000,12400000,12700000,13000000,13500000],'
        "[13000000,13100000,13400000,13700000,14000000,14500000],990000,950000]",
        '["signal","m","chat",[["alpha/m",700000],["beta/m",300000]]]',
        "",
    ]


def test_bundles_compare_by_what_they_say() -> None:
    assert isinstance(BUNDLE, Bundle)
    assert BUNDLE.header.size == 4
    assert build_bundle(CONTENTS, KEY, netuid=3, epoch=7, created_us=CREATED_US).header == BUNDLE.header
