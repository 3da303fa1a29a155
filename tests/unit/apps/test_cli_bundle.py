from __future__ import annotations

import json
from pathlib import Path

import pytest

from providerrank.apps.cli.commands import run
from tests.bundles import KEY, make_bundle

DATA = make_bundle().encode()


def test_a_good_bundle_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "good.bundle"
    file.write_bytes(DATA)
    assert run(["bundle", "verify", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "valid. Epoch 7 of subnet 3" in shown
    assert "2 records, 1 forecasts, 1 signals" in shown
    assert run(["bundle", "verify", str(file), "--epoch", "7", "--netuid", "3", "--hotkey", KEY.address, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is True
    assert (told["epoch"], told["netuid"], told["hotkey"], told["records"]) == (7, 3, KEY.address, 2)


def test_a_bad_bundle_is_refused_with_code_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.bundle"
    file.write_bytes(DATA.replace(b",250000,", b",950000,"))
    assert run(["bundle", "verify", str(file)]) == 1
    printed = capsys.readouterr()
    assert "refused (inconsistent): line 3: record 'alpha/m' 'chat' #0: ttft 950000 us is past total" in printed.err
    assert printed.out == ""
    assert run(["bundle", "verify", str(file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["valid"], told["code"], told["line"]) == (False, "inconsistent", 3)


def test_another_epoch_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "good.bundle"
    file.write_bytes(DATA)
    assert run(["bundle", "verify", str(file), "--epoch", "8"]) == 1
    assert "refused (wrong-epoch): line 1: made for epoch 7, not 8." in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bundle", "verify", str(tmp_path / "none")]) == 1
    assert "none cannot be read: No such file or directory." in capsys.readouterr().err
