"""`providerrank bundle`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from providerrank.apps.cli.options import JsonOption, print_json
from providerrank.apps.failures import DONE, FAILED, CommandFailed

CHUNK = 1 << 16

bundle = App(name="bundle", help="Look at a miner's submission.", result_action="return_value")


@bundle.command
def verify(
    file: Annotated[Path, Parameter(help="A bundle.")],
    /,
    *,
    epoch: Annotated[int | None, Parameter(help="Refuse a bundle of another epoch.")] = None,
    netuid: Annotated[int | None, Parameter(help="Refuse a bundle of another subnet.")] = None,
    hotkey: Annotated[str | None, Parameter(help="Refuse a bundle signed by another hotkey.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Check a bundle offline: its form, signature, Merkle root and consistency.

    Says what is wrong and on which line, with a code: malformed, oversized, mis-signed, altered, wrong-version,
    wrong-epoch, duplicate-record, inconsistent. Exit code 0: nothing is. Without --epoch any epoch will do.

    For example:

        $ providerrank bundle verify epoch-1042.bundle --epoch 1042
    """
    from providerrank.wire.bundle import Expected, read_bundle
    from providerrank.wire.bundle_errors import BundleRefused

    try:
        read = read_bundle(_read(file), Expected(netuid=netuid, epoch=epoch, hotkey=hotkey))
    except BundleRefused as refused:
        if as_json:
            print_json({"valid": False, "code": refused.code, "line": refused.line, "reason": refused.reason})
        else:
            sys.stderr.write(f"{file}: refused ({refused.code}): {refused}\n")
        return FAILED
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}.") from None
    header = read.header
    if as_json:
        counts = {"records": header.records, "forecasts": header.forecasts, "signals": header.signals}
        print_json(
            {
                "valid": True,
                "netuid": header.netuid,
                "epoch": header.epoch,
                "hotkey": header.hotkey,
                "root": header.root,
                "rules": header.rules,
                "created_us": header.created_us,
                **counts,
            }
        )
    else:
        sys.stdout.write(
            f"{file}: valid. Epoch {header.epoch} of subnet {header.netuid}, by {header.hotkey}; "
            f"{header.records} records, {header.forecasts} forecasts, {header.signals} signals; root {header.root}\n"
        )
    return DONE


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk
