"""Findings as bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providerrank.rules.cells import CHAT, Cell
from providerrank.wire.finding import MalformedFinding, decode_finding, encode_finding
from tests.findings import make_finding

FINDING = make_finding(Cell("de/m@eu", CHAT))


def test_there_and_back() -> None:
    assert decode_finding(encode_finding(FINDING)) == FINDING
    assert decode_finding(encode_finding(make_finding(Cell("a/m", CHAT))).decode()).epoch == 7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"more": 1}, "not a finding"),
        ({"stake_rao": -1}, "negative"),
        ({"replays": -1}, "negative"),
        ({"success_ppm": 1_000_001}, "no probability"),
        ({"ttft_micrologs": [1]}, "quantiles"),
        ({"backing": []}, "0 bundles"),
        ({"backing": [["5M", "ab" * 32, 1]] * 65}, "65 bundles"),
        ({"backing": [["5M", "xy" * 32, 1]]}, "64 lower-case hex"),
        ({"epoch": "7"}, "not a finding"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], says: str) -> None:
    fields = json.loads(encode_finding(make_finding(Cell("a/m", CHAT)))) | change
    with pytest.raises(MalformedFinding, match=says):
        decode_finding(json.dumps(fields))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 5_000])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFinding):
        decode_finding(data)
