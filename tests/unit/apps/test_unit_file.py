"""The unit file fits the program: its command, its signals, its times."""

from __future__ import annotations

import configparser
from pathlib import Path

from providerrank.apps.config import GatewayTable
from providerrank.apps.entry import is_plain_serve

UNIT = Path(__file__).parents[3] / "deploy" / "providerrank.service"


def test_the_unit_file_runs_what_there_is() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names are written as systemd writes them
    unit.read(UNIT)
    service = unit["Service"]
    program, *arguments = service["ExecStart"].split()
    assert Path(program).name == "providerrank"
    assert is_plain_serve(arguments)
    assert service["Type"] == "notify"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    # Workers finish by themselves; only the first process is told.
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > GatewayTable().drain + 5
