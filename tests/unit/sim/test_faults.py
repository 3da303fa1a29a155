"""The list of faults is closed, told in sentences, and each is played by exactly one layer."""

from __future__ import annotations

from providerrank.sim import faulty
from providerrank.sim.faults import (
    CONNECTION_FAULTS,
    LISTENER_FAULTS,
    ON_OPEN_CONNECTION,
    ON_PLAIN_ANSWER,
    QUIRKS,
    SENTENCES,
    STREAM_FAULTS,
    Fault,
)


def test_every_fault_has_its_own_sentence() -> None:
    assert set(SENTENCES) == set(Fault)
    assert len(set(SENTENCES.values())) == len(Fault)
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())


def test_every_fault_is_played_by_exactly_one_layer() -> None:
    layers = [
        LISTENER_FAULTS,
        CONNECTION_FAULTS,
        faulty.ANSWER_FAULTS,
        faulty.REPLACEMENTS.keys(),
        faulty.REWRITES.keys(),
        faulty.REFRAMINGS.keys(),
        {Fault.SLOW_FIRST_TOKEN},
    ]
    assert sorted(fault for layer in layers for fault in layer) == sorted(Fault)


def test_what_stands_for_a_fault_elsewhere_can_be_played_there() -> None:
    assert set(ON_OPEN_CONNECTION) == LISTENER_FAULTS | CONNECTION_FAULTS
    assert not set(ON_OPEN_CONNECTION.values()) & (LISTENER_FAULTS | CONNECTION_FAULTS)
    assert set(ON_PLAIN_ANSWER) <= STREAM_FAULTS
    assert not set(ON_PLAIN_ANSWER.values()) & STREAM_FAULTS


def test_no_quirk_stands_for_a_failure_and_no_failure_for_a_quirk() -> None:
    for stream, plain in ON_PLAIN_ANSWER.items():
        assert (stream in QUIRKS) == (plain in QUIRKS)
