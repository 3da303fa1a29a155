"""The configuration file: where it is, what is accepted, what a secret shows of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from providerrank.apps import config
from providerrank.apps.config import ConfigRefused, Secret
from tests.unit.apps.config.files import FULL, MINIMAL, accept


def test_a_file_with_one_endpoint_works_on_defaults() -> None:
    loaded = accept(MINIMAL)

    assert loaded.config.gateway == config.GatewayTable()
    assert loaded.config.gateway.listen == "127.0.0.1:8080"
    assert loaded.config.timeouts.first_token == "auto"
    assert loaded.config.endpoints[0].upstream_model is None
    assert loaded.notes == ()


def test_every_key_can_be_given() -> None:
    loaded = accept(FULL)

    assert loaded.config.timeouts.first_token == 4.5
    assert loaded.config.timeouts.patience == 0
    assert loaded.config.models[0].fallback_models == ("qwen",)
    assert loaded.reveal(loaded.config.endpoints[0].key) == "upstream-secret"
    assert loaded.reveal(loaded.config.gateway.keys[0]) == "client-secret"
    assert loaded.reveal(None) is None


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    missing = tmp_path / "x.toml"

    with pytest.raises(ConfigRefused) as refused:
        config.load(missing, {})

    assert str(refused.value) == (
        f"{missing}: there is no such file: write one with `providerrank init`, or name another with -c."
    )


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="that is a folder"):
        config.load(tmp_path, {})


def test_a_file_that_is_not_text_says_where(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"# one\n# \xff\n")

    with pytest.raises(ConfigRefused, match=r"x\.toml:2: the file is not UTF-8 text"):
        config.load(path, {})


def test_a_byte_order_mark_and_windows_line_ends_are_nothing_wrong(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())

    assert config.load(path, {}).path == path


def test_the_file_is_the_given_one_else_the_variable_else_the_one_here() -> None:
    assert config.find_path("a.toml", {"PROVIDERRANK_CONFIG": "b.toml"}) == Path("a.toml")
    assert config.find_path(None, {"PROVIDERRANK_CONFIG": "b.toml"}) == Path("b.toml")
    assert config.find_path(None, {}) == Path("providerrank.toml")


def test_a_secret_does_not_show_itself() -> None:
    loaded = accept(MINIMAL + 'key = "in-the-file"\n')

    assert "in-the-file" not in repr(loaded.config)
    assert "client-secret" not in repr(loaded)
    assert repr(Secret("env:A")) == "Secret(env:A)"
    assert repr(Secret("in-the-file")) == "Secret(...)"


def test_the_reference_page_names_every_key() -> None:
    page = (Path(__file__).parents[4] / "docs/reference/config.md").read_text()

    for table in (
        config.GatewayTable,
        config.BuyerTable,
        config.TimeoutsTable,
        config.EndpointTable,
        config.ModelTable,
        config.TierTable,
        config.RegistryTable,
        config.EnginesTable,
        config.TelemetryTable,
        config.PriceTable,
        config.ChainTable,
        config.MarketTable,
        config.MinerTable,
        config.ValidatorTable,
    ):
        for key in table.__struct_fields__:
            assert f"`{key}`" in page, f"docs/reference/config.md does not name `{key}`"
