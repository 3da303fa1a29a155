"""`providerrank chain`: a chain on this machine, for a market that needs no account anywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from providerrank.apps.amounts import format_tao, parse_tao
from providerrank.apps.cli.options import JsonOption, print_json
from providerrank.apps.failures import DONE, FAILED, CommandFailed

if TYPE_CHECKING:
    from providerrank.engines.chain_ledger import Ledger

DEFAULT_FILE = Path("chain.db")
MICRO = 1_000_000

FileOption = Annotated[Path, Parameter(name=("--file", "-f"), help="The chain's file.")]

chain = App(name="chain", help="Make a chain on this machine, and look at it.", result_action="return_value")


@chain.command
def init(  # noqa: PLR0913 - a chain has many settings, and all have defaults
    *,
    file: FileOption = DEFAULT_FILE,
    tempo: Annotated[int, Parameter(help="Blocks of an epoch, 5 or more.")] = 360,
    block_time: Annotated[float, Parameter(help="Seconds of a block.")] = 12.0,
    validator: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            help="ADDRESS=TAO: a validator to begin with, with its stake and a permit. May be given again.",
        ),
    ] = (),
    owner: Annotated[
        str | None, Parameter(help="Address of the owner: uid 0, whose emission is burned. Else nobody's.")
    ] = None,
    uids: Annotated[int, Parameter(help="Neurons there is room for.")] = 256,
    max_validators: Annotated[int, Parameter(help="Permits given out at each epoch's end.")] = 64,
    emission: Annotated[str, Parameter(help="TAO issued a block.")] = "1",
    registration: Annotated[str, Parameter(help="TAO a registration burns.")] = "0.1",
    sealed: Annotated[bool, Parameter(negative="", help="Keep weights secret for an epoch.")] = False,
) -> int:
    """Make a chain in a new file: miners, validators and whoever looks share it, from one process or many.

    Blocks come with time, whoever runs; the chain stands still while nobody uses it for two epochs. What is counted
    in blocks and not given here is scaled from Bittensor's 360 to the tempo. Never overwrites.

    For example, epochs of a minute, two validators:

        $ providerrank chain init --tempo 60 --block-time 1 --validator 5Grw...utQY=1000 --validator 5FHn...94ty=500
    """
    from providerrank.engines.chain_ledger import NOBODY, create_ledger
    from providerrank.engines.chain_settings import derive_settings

    if not file.parent.is_dir():
        raise CommandFailed(f"{file} cannot be made: there is no directory {file.parent}.")
    with _translated():
        settings = replace(
            derive_settings(tempo, round(block_time * MICRO)),
            max_uids=uids,
            max_validators=max_validators,
            emission_rao=parse_tao(emission),
            registration_rao=parse_tao(registration),
            weights_are_sealed=sealed,
        )
        validators = [_parse_validator(one) for one in validator]
        create_ledger(file, settings, owner or NOBODY, validators).close()
    blocks = f"{tempo} blocks of {block_time:g} s"
    count = f"{len(validators)} validator" + ("" if len(validators) == 1 else "s")
    sys.stdout.write(f"{file}: a chain with epochs of {blocks}, and {count}. It began now.\n")
    return DONE


@chain.command
def show(
    *,
    file: FileOption = DEFAULT_FILE,
    epoch: Annotated[int | None, Parameter(help="An epoch that has ended, instead of the present.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Show where a chain is: neurons, weights, commitments, balances, and whether the books balance.

    Looking brings the chain to the present, as every use does: an epoch that is over is ended. Exit code 1 if the
    coins issued are not the coins there are.

    For example:

        $ providerrank chain show --epoch 12
    """
    from providerrank.apps import chain_view
    from providerrank.engines.chain_reads import read_epoch, read_report

    with _opened(file) as ledger:
        report = ledger.read(read_report)
        past = None if epoch is None else ledger.read(lambda connection, _: read_epoch(connection, epoch))
    if epoch is not None:
        if past is None:
            raise CommandFailed(f"epoch {epoch} has not ended, or never was: this is epoch {report.head.epoch}.")
        if as_json:
            print_json(past)
        else:
            chain_view.show_epoch(past)
        return DONE
    if as_json:
        print_json(report)
    else:
        chain_view.show(report)
    if report.books.difference_rao:
        sys.stderr.write(f"{file}: the books do not balance, by {report.books.difference_rao} rao\n")
        return FAILED
    return DONE


@chain.command
def fund(
    address: Annotated[str, Parameter(help="A hotkey's address.")],
    amount: Annotated[str, Parameter(help="TAO to issue to it.")],
    /,
    *,
    file: FileOption = DEFAULT_FILE,
    stake: Annotated[bool, Parameter(negative="", help="Put it on its stake at once.")] = False,
) -> int:
    """Give an account coins out of nothing, as test networks do.

    For example, to make a validator of a hotkey from the next epoch on:

        $ providerrank chain fund 5Grw...utQY 1000 --stake
    """
    from providerrank.engines import chain_acts
    from providerrank.wire.signature import decode_address

    with _opened(file) as ledger:
        decode_address(address)
        rao = parse_tao(amount)
        ledger.write(lambda connection, state: chain_acts.fund(connection, state, address, rao))
        if stake:
            ledger.write(lambda connection, _: chain_acts.move_stake(connection, address, rao))
        free, staked = ledger.read(lambda connection, _: chain_acts.get_balance(connection, address))
    sys.stdout.write(f"{address}: {format_tao(free)} TAO free, {format_tao(staked)} staked\n")
    return DONE


@chain.command
def advance(
    *,
    file: FileOption = DEFAULT_FILE,
    blocks: Annotated[int | None, Parameter(help="Blocks to skip; else to the end of the epoch.")] = None,
) -> int:
    """Let a chain's time jump ahead, to try something without waiting; epochs on the way are ended and paid.

    For example:

        $ providerrank chain advance --blocks 30
    """
    with _opened(file) as ledger:
        head = ledger.read(lambda _, state: state.head)
        state = ledger.skip(head.ends - head.block if blocks is None else blocks)
    sys.stdout.write(f"{file}: block {state.block}, epoch {state.epoch}\n")
    return DONE


def _parse_validator(text: str) -> tuple[str, int]:
    address, given, amount = text.partition("=")
    if not given:
        raise ValueError(f"{text!r} is not ADDRESS=TAO: give a validator its stake")
    return address, parse_tao(amount)


@contextmanager
def _opened(file: Path) -> Iterator[Ledger]:
    from providerrank.engines.chain_ledger import open_ledger

    with _translated():
        ledger = open_ledger(file)
        try:
            yield ledger
        finally:
            ledger.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Make a sentence for the user of what a chain, a setting or an address says."""
    from providerrank.market.errors import ChainError
    from providerrank.wire.errors import WireError

    try:
        yield
    except (ChainError, ValueError, WireError) as error:
        raise CommandFailed(str(error)) from None
