from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from providerrank.apps.amounts import format_tao, parse_tao
from providerrank.apps.cli.commands import run
from providerrank.engines import chain_acts
from providerrank.engines.chain_ledger import open_ledger
from tests.chains import DIGEST, get_address

ALICE, MINER = get_address("alice"), get_address("miner")


@pytest.fixture
def file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    path = str(tmp_path / "chain.db")
    assert (
        run(["chain", "init", "-f", path, "--tempo", "20", "--block-time", "60", "--validator", f"{ALICE}=1000"]) == 0
    )
    assert "epochs of 20 blocks of 60 s, and 1 validator." in capsys.readouterr().out
    return path


def act(file: str) -> None:
    """A miner registers and commits, the validator weighs it."""
    ledger = open_ledger(Path(file))
    ledger.write(lambda connection, state: chain_acts.register(connection, state, MINER, 0))
    ledger.write(lambda connection, state: chain_acts.commit(connection, state, MINER, 0, DIGEST))
    ledger.skip(1)
    ledger.write(lambda connection, state: chain_acts.set_weights(connection, state, ALICE, {0: 1, 2: 3}, 0))
    ledger.close()


def test_a_chain_is_shown(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    act(file)
    assert run(["chain", "show", "-f", file]) == 0
    shown = capsys.readouterr().out
    assert "block 1 at 20" in shown
    assert "epoch 0: blocks 0 to 19" in shown
    assert "commitments are taken: commit before 10, reveal before 12, ends before 20" in shown
    assert "uid 1: uid 2 75.0%, uid 0 25.0%" in shown
    assert f"  {MINER}  {DIGEST}  in block 0" in shown
    assert "issued 1,000 = 0 free + 1,000 staked + 0 burned: balances" in shown
    assert run(["chain", "show", "-f", file, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["head"]["epoch"] == 0
    assert told["weights"] == {"1": [[0, 21_845], [2, 65_535]]}
    assert told["commitments"][0]["digest"] == DIGEST
    assert told["books"]["difference_rao"] == 0


def test_an_epoch_that_ended_is_shown(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    act(file)
    assert run(["chain", "advance", "-f", file]) == 0
    assert "block 20, epoch 1" in capsys.readouterr().out
    assert run(["chain", "show", "-f", file, "--epoch", "0"]) == 0
    shown = capsys.readouterr().out
    assert "epoch 0, blocks 0 to 19" in shown
    assert "issued 20: 7.5 to miners, 10 to validators, 2.5 burned" in shown
    assert run(["chain", "show", "-f", file, "--epoch", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["miners_rao"] + told["validators_rao"] + told["burned_rao"] == told["emission_rao"] == 20 * 10**9
    assert [neuron["hotkey"] for neuron in told["neurons"]][1:] == [ALICE, MINER]
    assert run(["chain", "show", "-f", file, "--epoch", "1"]) == 1
    assert "epoch 1 has not ended, or never was: this is epoch 1." in capsys.readouterr().err


def test_blocks_are_skipped(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chain", "advance", "-f", file, "--blocks", "11"]) == 0
    assert "block 11, epoch 0" in capsys.readouterr().out
    assert run(["chain", "show", "-f", file]) == 0
    assert "reveals are taken" in capsys.readouterr().out
    assert run(["chain", "advance", "-f", file, "--blocks", "-1"]) == 1
    assert "-1 blocks cannot be skipped" in capsys.readouterr().err


def test_coins_are_given(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chain", "fund", MINER, "1.5", "-f", file]) == 0
    assert "1.5 TAO free, 0 staked" in capsys.readouterr().out
    assert run(["chain", "fund", MINER, "0.000000001", "-f", file, "--stake"]) == 0
    assert "1.5 TAO free, 0.000000001 staked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fund", "x", "1"], "'x' is not an sr25519 address"),
        (["fund", MINER, "-1"], "no amount of TAO"),
        (["fund", MINER, "0"], "0 rao cannot be given"),
        (["fund", MINER, "much"], "no amount of TAO"),
        (["init"], "there is a chain already"),
    ],
)
def test_what_is_refused_says_why(
    file: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["chain", *arguments, "-f", file]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tempo", "4"], "tempo_blocks is 4: it is from 5"),
        (["--block-time", "0"], "block_time_us is 0"),
        (["--emission", "-1"], "no amount of TAO"),
        (["--validator", ALICE], "is not ADDRESS=TAO"),
        (["--validator", "x=1"], "not an sr25519 address"),
        (["--uids", "1", "--validator", f"{ALICE}=1"], "1 validators and the owner: the subnet has 1 uids"),
    ],
)
def test_a_chain_that_cannot_be_is_not_begun(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "chain.db")
    assert run(["chain", "init", "-f", path, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert run(["chain", "init", "-f", path]) == 0


def test_files_that_hold_no_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chain", "show", "-f", str(tmp_path / "none")]) == 1
    assert "there is no such file: make a chain with `providerrank chain init`" in capsys.readouterr().err
    text = tmp_path / "text"
    text.write_text("not a database, and long enough to look at" * 100)
    assert run(["chain", "show", "-f", str(text)]) == 1
    assert "file is not a database" in capsys.readouterr().err
    sqlite3.connect(tmp_path / "other.db").close()
    assert run(["chain", "show", "-f", str(tmp_path / "other.db")]) == 1
    assert "it holds no chain" in capsys.readouterr().err
    assert run(["chain", "init", "-f", str(tmp_path / "no" / "chain.db")]) == 1
    assert "there is no directory" in capsys.readouterr().err


def test_a_ledger_of_another_version_is_left_alone(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE chain SET version = 2")
    connection.close()
    assert run(["chain", "show", "-f", file]) == 1
    assert "its ledger is not of version 1" in capsys.readouterr().err


def test_books_that_do_not_balance_are_told(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE accounts SET free_rao = 7 WHERE stake_rao > 0")
    connection.close()
    assert run(["chain", "show", "-f", file]) == 1
    printed = capsys.readouterr()
    assert "OFF BY -0.000000007" in printed.out
    assert "the books do not balance, by -7 rao" in printed.err


def test_amounts_are_exact() -> None:
    assert parse_tao("0.1") == 100_000_000
    assert parse_tao("1e3") == 10**12
    for text in ("", "nan", "inf", "0.0000000001", "sNaN"):
        with pytest.raises(ValueError, match="no amount of TAO"):
            parse_tao(text)
    assert [format_tao(rao) for rao in (0, 1, 10**9, 1_234_500_000_000, -(10**8))] == [
        "0",
        "0.000000001",
        "1",
        "1,234.5",
        "-0.1",
    ]
