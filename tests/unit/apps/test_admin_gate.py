from __future__ import annotations

import base64

import pytest

from providerrank.apps.admin.gate import Gate, OpenToTheNetworkError, get_host_name, get_presented_key, is_loopback

LOOPBACK = Gate("127.0.0.1", ("sk-one",))
NETWORK = Gate("0.0.0.0", ("sk-one", "sk-two"))


def make_basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8081", "localhost.", "127.0.0.1", "127.0.0.1:8081", "127.1.2.3:1", "[::1]", "[::1]:8081"],
)
def test_loopback_serves_loopback_names_without_a_key(host: str) -> None:
    assert LOOPBACK.compute_refusal("/metrics", host, "") is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8081",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "2130706433",
        "0.0.0.0:8081",
        "192.168.1.4",
        "[::]:8081",
        "[::1",
        "[fe80::1]",
    ],
)
def test_loopback_refuses_every_other_name(host: str) -> None:
    # An address with an opening bracket only still names nothing but this machine.
    if host == "[::1":
        assert LOOPBACK.compute_refusal("/metrics", host, "") is None
        return
    refusal = LOOPBACK.compute_refusal("/metrics", host, "Bearer sk-one")
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(
    "authorization",
    ["Bearer sk-one", "bearer sk-two", "Bearer  sk-two ", make_basic("admin:sk-one"), make_basic(":sk-two")],
)
def test_a_network_address_serves_whoever_has_a_key(authorization: str) -> None:
    assert NETWORK.compute_refusal("/", "gateway.example", authorization) is None


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer sk-on",
        "Bearer sk-one2",
        "Bearer sk-oné",
        "sk-one",
        "Digest sk-one",
        make_basic("sk-one:"),
        make_basic("sk-one"),
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
    ],
)
def test_a_network_address_refuses_everyone_else_without_a_hint(authorization: str) -> None:
    refusal = NETWORK.compute_refusal("/", "127.0.0.1", authorization)
    assert refusal is not None
    assert refusal.status == 401
    assert "sk-" not in refusal.message


@pytest.mark.parametrize("path", ["/health", "/ready"])
@pytest.mark.parametrize("gate", [LOOPBACK, NETWORK])
def test_probes_are_open(path: str, gate: Gate) -> None:
    assert gate.compute_refusal(path, "whatever.example", "") is None


def test_a_network_address_without_keys_cannot_be_built() -> None:
    with pytest.raises(OpenToTheNetworkError, match=r"0\.0\.0\.0.*add a key"):
        Gate("0.0.0.0")
    for host in ("::", "gateway.example", "10.0.0.1", ""):
        with pytest.raises(OpenToTheNetworkError):
            Gate(host)
    Gate("127.0.0.1")
    Gate("::1")
    Gate("localhost")


def test_keys_are_not_shown() -> None:
    assert "sk-one" not in repr(NETWORK)


def test_parts() -> None:
    assert get_host_name("[::1]:80") == "::1"
    assert get_host_name("name:80") == "name"
    assert get_presented_key("Bearer  a b ") == "a b"
    assert is_loopback("::1")
    assert not is_loopback("")


@pytest.mark.parametrize("gate", [LOOPBACK, NETWORK])
@pytest.mark.parametrize(
    ("method", "origin", "served"),
    [
        ("POST", "", True),
        ("POST", "http://127.0.0.1:8081", True),
        ("POST", "http://127.0.0.1:8080", False),
        ("POST", "https://example.com", False),
        ("POST", "null", False),
        ("DELETE", "https://example.com", False),
        ("GET", "https://example.com", True),
    ],
)
def test_no_page_of_another_site_changes_anything(gate: Gate, method: str, origin: str, served: bool) -> None:
    refusal = gate.compute_refusal("/v1/reload", "127.0.0.1:8081", "Bearer sk-one", method=method, origin=origin)
    assert (refusal is None) is served
    if refusal is not None:
        assert refusal.status == 403
