"""Settings are values; what is secret in them is not shown."""

from __future__ import annotations

import dataclasses

import pytest

from providerrank.gateway.settings import Clocks, GatewaySettings, Limits, Upstream
from tests.playbook import endpoint


def test_keys_are_not_shown() -> None:
    upstream = Upstream(endpoint("a"), "http://127.0.0.1:1/v1", "up", "sk-upstream")
    settings = GatewaySettings(keys=("sk-client",), upstreams=(upstream,))
    assert "sk-" not in repr(settings)
    assert "127.0.0.1:1" in repr(settings)


@pytest.mark.parametrize("settings", [GatewaySettings(), Clocks(), Limits()], ids=lambda s: type(s).__name__)
def test_settings_do_not_change(settings: GatewaySettings | Clocks | Limits) -> None:
    name = dataclasses.fields(settings)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, 0)


def test_every_bound_is_one() -> None:
    assert all(value > 0 for value in dataclasses.asdict(Limits()).values())


def test_clocks_are_in_order() -> None:
    clocks = Clocks()
    assert clocks.connect_us < clocks.patience_us < clocks.idle_us < clocks.total_us
