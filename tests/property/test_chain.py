"""Whatever is done on a local chain, in whatever order: its books balance and its rules hold."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from providerrank.engines import chain_acts
from providerrank.engines.chain_ledger import Ledger, create_memory_ledger
from providerrank.engines.chain_reads import read_commitments, read_epoch, read_report
from providerrank.market.errors import Refused
from providerrank.market.ports import RAO
from tests.chains import SETTINGS, STAKE, TEMPO, Time, get_address

NAMES = ("alice", "bob", "m0", "m1", "m2", "m3", "m4")

names = st.sampled_from(NAMES)
acts = st.one_of(
    st.tuples(st.just("go"), names, st.integers(1, 30)),
    st.tuples(st.just("fund"), names, st.integers(1, 3 * RAO)),
    st.tuples(st.just("stake"), names, st.integers(-RAO, RAO)),
    st.tuples(st.just("register"), names, st.just(0)),
    st.tuples(st.just("commit"), names, st.integers(0, 3)),
    st.tuples(st.just("reveal"), names, st.integers(0, 3)),
    st.tuples(st.just("weights"), names, st.integers(0, 2**20)),
)


def act(ledger: Ledger, time: Time, what: str, name: str, number: int) -> None:
    hotkey = get_address(name)
    match what:
        case "go":
            time.go(number)
        case "fund":
            ledger.write(lambda c, s: chain_acts.fund(c, s, hotkey, number))
        case "stake":
            ledger.write(lambda c, _: chain_acts.move_stake(c, hotkey, number))
        case "register":
            ledger.write(lambda c, s: chain_acts.register(c, s, hotkey, RAO // 10))
        case "commit":
            ledger.write(lambda c, s: chain_acts.commit(c, s, hotkey, s.epoch, f"{number:064x}"))
        case "reveal":
            ledger.write(lambda c, s: chain_acts.reveal(c, s, hotkey, s.epoch, bytes([number])))
        case _:
            said = {uid: (number >> (4 * uid)) % 16 for uid in range(5)}
            ledger.write(lambda c, s: chain_acts.set_weights(c, s, hotkey, said, 0))


@settings(max_examples=40, deadline=None)
@given(st.lists(acts, max_size=60), st.booleans(), st.booleans())
def test_the_books_balance_and_the_rules_hold(
    history: list[tuple[str, str, int]], sealed: bool, full_of_uids: bool
) -> None:
    time = Time()
    chain_settings = replace(SETTINGS, weights_are_sealed=sealed, max_uids=5 if full_of_uids else 8, immunity_blocks=10)
    validators = [(get_address(name), STAKE) for name in ("alice", "bob")]
    ledger = create_memory_ledger(chain_settings, validators=validators, clock=time.now_us)
    for what, name, number in history:
        with suppress(Refused):
            act(ledger, time, what, name, number)
        report = ledger.read(read_report)
        assert report.books.difference_rao == 0
        graph = report.metagraph
        assert [neuron.uid for neuron in graph.neurons] == list(range(len(graph.neurons)))
        assert len({neuron.hotkey for neuron in graph.neurons}) == len(graph.neurons) <= chain_settings.max_uids
        assert report.head.begins <= report.head.block < report.head.ends
        for row in report.weights.values():
            assert max(weight for _, weight in row) == 65_535
            assert all(0 <= uid < len(graph.neurons) and weight > 0 for uid, weight in row)
    head = ledger.read(lambda _, state: state.head)
    for epoch in range(head.epoch):
        past = ledger.read(lambda c, _, e=epoch: read_epoch(c, e))  # type: ignore[misc]
        assert past is not None
        assert past.emission_rao == SETTINGS.emission_rao * TEMPO
        assert past.miners_rao + past.validators_rao + past.burned_rao == past.emission_rao
        assert min(past.miners_rao, past.validators_rao, past.burned_rao) >= 0
        for made in ledger.read(lambda c, _, e=epoch: read_commitments(c, e)):  # type: ignore[misc]
            assert epoch * TEMPO <= made.block < epoch * TEMPO + 10
            assert made.revealed_at is None or epoch * TEMPO + 10 <= made.revealed_at < epoch * TEMPO + 12
    ledger.close()
