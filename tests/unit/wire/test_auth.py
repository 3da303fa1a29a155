from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providerrank.wire.auth import (
    MAX_AGE_NS,
    MAX_SKEW_NS,
    AuthError,
    BadSignature,
    Caller,
    MalformedAuth,
    NonceMemory,
    ReplayedRequest,
    StaleRequest,
    TooManyRequests,
    UnknownSender,
    WrongReceiver,
    build_payload,
    sign_request,
    verify_request,
)
from providerrank.wire.signature import BadAddress, Hotkey
from tests.chains import get_address, make_key

NOW_NS = 1_800_000_000_000_000_000
MS = 1_000_000
METHOD, TARGET, BODY = "POST", "/v1/bundles/7?part=2", b'{"leaves":[1,2]}'


class SdkRequest(TypedDict):
    method: str
    target: str
    body_hex: str
    nonce_ns: int
    payload: str
    headers: dict[str, str]


VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "btauth.json").read_text())


def sign(nonce_ns: int = NOW_NS, sender: str = "alice") -> dict[str, str]:
    return sign_request(
        make_key(sender), method=METHOD, target=TARGET, body=BODY, receiver=get_address("bob"), nonce_ns=nonce_ns
    )


def verify(
    headers: dict[str, str],
    memory: NonceMemory | None = None,
    *,
    method: str = METHOD,
    target: str = TARGET,
    body: bytes = BODY,
    receiver: str = "bob",
    now_ns: int = NOW_NS,
    known: str = "alice",
) -> Caller:
    return verify_request(
        headers,
        method=method,
        target=target,
        body=body,
        receiver=get_address(receiver),
        now_ns=now_ns,
        memory=NonceMemory(0) if memory is None else memory,
        is_known=lambda hotkey: hotkey == get_address(known),
    )


def test_a_signed_request_says_who_sent_it() -> None:
    assert verify(sign()) == Caller(get_address("alice"), NOW_NS)
    assert verify(sign(), method="post") == Caller(get_address("alice"), NOW_NS)


@pytest.mark.parametrize("request_", VECTORS["requests"], ids=lambda request_: request_["target"])
def test_what_bittensors_sdk_signs_is_read_and_built_the_same(request_: SdkRequest) -> None:
    key, receiver = Hotkey(bytes.fromhex(VECTORS["sender_seed_hex"])), VECTORS["receiver"]
    method, target, body = request_["method"], request_["target"], bytes.fromhex(request_["body_hex"])
    nonce_ns, theirs = request_["nonce_ns"], request_["headers"]
    assert build_payload(method, target, body, nonce_ns, key.address, receiver) == request_["payload"].encode()
    ours = sign_request(key, method=method, target=target, body=body, receiver=receiver, nonce_ns=nonce_ns)
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} == {"x-bittensor-signature"}  # never the same twice
    for headers in (ours, theirs):
        memory = NonceMemory(-MAX_AGE_NS - MAX_SKEW_NS)
        caller = verify_request(
            headers,
            method=method,
            target=target,
            body=body,
            receiver=receiver,
            now_ns=nonce_ns,
            memory=memory,
            is_known=lambda _: True,
        )
        assert caller == Caller(key.address, nonce_ns)


def test_nothing_of_a_request_can_be_changed() -> None:
    headers = sign()
    for changed in (
        {"method": "PUT"},
        {"target": "/v1/bundles/7?part=3"},
        {"target": "/v1/bundles/7"},
    ):
        with pytest.raises(BadSignature):
            verify(headers, **changed)  # type: ignore[arg-type]
    with pytest.raises(BadSignature):
        verify(headers, body=BODY + b" ")
    with pytest.raises(BadSignature):
        verify(headers | {"x-bittensor-nonce": str(NOW_NS + 1)})
    with pytest.raises(BadSignature):
        verify(headers | {"x-bittensor-hotkey": get_address("carol")}, known="carol")
    with pytest.raises(BadSignature):
        verify(headers | {"x-bittensor-signature": "0x" + "00" * 64})


def test_a_request_for_another_neuron_is_refused() -> None:
    headers = sign()
    with pytest.raises(WrongReceiver):
        verify(headers, receiver="carol")
    # Naming the one it came to instead does not help: the signature covers the name.
    with pytest.raises(BadSignature):
        verify(headers | {"x-bittensor-receiver": get_address("carol")}, receiver="carol")
    del headers["x-bittensor-receiver"]
    with pytest.raises(WrongReceiver):
        verify(headers)


def test_strangers_are_refused_before_their_signature_costs_anything() -> None:
    with pytest.raises(UnknownSender) as refused:
        verify(sign() | {"x-bittensor-signature": "0x" + "00" * 64}, known="carol")
    assert refused.value.status == 403


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-bittensor-version", None),
        ("x-bittensor-version", "2"),
        ("x-bittensor-crypto", "ed25519"),
        ("x-bittensor-crypto", ""),
        ("x-bittensor-hotkey", None),
        ("x-bittensor-hotkey", "alice"),
        ("x-bittensor-nonce", None),
        ("x-bittensor-nonce", ""),
        ("x-bittensor-nonce", "-1"),
        ("x-bittensor-nonce", "1_800_000_000_000_000_000"),
        ("x-bittensor-nonce", " 1800000000000000000"),
        ("x-bittensor-nonce", "01800000000000000000"),
        ("x-bittensor-nonce", "1800000000000000000\n"),
        ("x-bittensor-nonce", "\u0661"),
        ("x-bittensor-nonce", "9" * 21),
        ("x-bittensor-signature", None),
        ("x-bittensor-signature", "0x12"),
        ("x-bittensor-signature", "0x" + "zz" * 64),
        ("x-bittensor-signature", "0x" + "00" * 65),
    ],
)
def test_headers_that_cannot_be_read_are_refused(name: str, value: str | None) -> None:
    headers = sign()
    if value is None:
        del headers[name]
    else:
        headers[name] = value
    with pytest.raises(MalformedAuth, match=name) as refused:
        verify(headers)
    assert refused.value.status == 401
    assert not value or len(value) < 4 or value not in str(refused.value)


def test_the_usual_scheme_may_be_named_and_the_signature_bare() -> None:
    headers = sign()
    headers |= {"x-bittensor-crypto": "sr25519", "x-bittensor-signature": headers["x-bittensor-signature"][2:]}
    verify(headers)


@pytest.mark.parametrize(
    ("method", "target"), [("GET\n/x", "/"), ("GET", "/a\n/b"), ("GET", "/a b"), ("", "/"), ("GET", "")]
)
def test_a_line_within_a_line_is_neither_signed_nor_taken(method: str, target: str) -> None:
    with pytest.raises(ValueError, match="no request line"):
        sign_request(
            make_key("alice"), method=method, target=target, body=b"", receiver=get_address("bob"), nonce_ns=NOW_NS
        )
    with pytest.raises(MalformedAuth, match="visible ASCII"):
        verify(sign(), method=method, target=target)


def test_nothing_is_signed_for_an_address_that_is_none() -> None:
    with pytest.raises(BadAddress):
        sign_request(make_key("alice"), method="GET", target="/", body=b"", receiver="bob", nonce_ns=NOW_NS)


# ---- replay ----------------------------------------------------------------------------------------------------------


def test_the_same_request_is_taken_once() -> None:
    memory = NonceMemory(0)
    headers = sign()
    verify(headers, memory)
    for later_ns in (0, MAX_AGE_NS):
        with pytest.raises(ReplayedRequest):
            verify(headers, memory, now_ns=NOW_NS + later_ns)
    with pytest.raises(StaleRequest):
        verify(headers, memory, now_ns=NOW_NS + MAX_AGE_NS + 1)
    assert len(memory) == 0


def test_two_senders_may_use_one_nonce() -> None:
    memory = NonceMemory(0)
    verify(sign(sender="alice"), memory)
    verify(sign(sender="carol"), memory, known="carol")
    assert len(memory) == 2


def test_the_window_is_ten_seconds_back_and_two_ahead() -> None:
    for skew_ns in (-MAX_AGE_NS, 0, MAX_SKEW_NS):
        verify(sign(NOW_NS + skew_ns))
    with pytest.raises(StaleRequest, match="too long ago"):
        verify(sign(NOW_NS - MAX_AGE_NS - 1))
    with pytest.raises(StaleRequest, match="more than 2 s ahead"):
        verify(sign(NOW_NS + MAX_SKEW_NS + 1))


def test_a_clock_set_back_lets_nothing_in_again() -> None:
    memory = NonceMemory(0)
    headers = sign()
    verify(headers, memory)
    verify(sign(NOW_NS + 20_000 * MS), memory, now_ns=NOW_NS + 20_000 * MS)
    with pytest.raises(StaleRequest):
        verify(headers, memory, now_ns=NOW_NS)


def test_a_restart_lets_nothing_in_again() -> None:
    ahead = sign(NOW_NS + MAX_SKEW_NS)
    verify(ahead, NonceMemory(0))
    restarted = NonceMemory(NOW_NS)
    with pytest.raises(StaleRequest, match="none from before a restart"):
        verify(ahead, restarted, now_ns=NOW_NS + 1)
    verify(sign(NOW_NS + MAX_SKEW_NS + 1), restarted, now_ns=NOW_NS + 1)


def test_a_request_that_is_refused_leaves_no_trace() -> None:
    memory = NonceMemory(0)
    with pytest.raises(BadSignature):
        verify(sign(), memory, body=b"")
    assert len(memory) == 0
    verify(sign(), memory)


def test_a_full_memory_refuses_and_empties_with_time() -> None:
    memory = NonceMemory(0, max_nonces=3, max_per_sender=2)
    verify(sign(NOW_NS), memory)
    verify(sign(NOW_NS + 1), memory)
    with pytest.raises(TooManyRequests) as refused:
        verify(sign(NOW_NS + 2), memory)
    assert refused.value.status == 429
    verify(sign(NOW_NS, "carol"), memory, known="carol")
    with pytest.raises(TooManyRequests):
        verify(sign(NOW_NS, "dave"), memory, known="dave")
    later_ns = NOW_NS + MAX_AGE_NS + 2
    verify(sign(later_ns), memory, now_ns=later_ns)
    assert len(memory) == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-15, 5), st.sampled_from("ab")), max_size=60))
def test_whatever_comes_nothing_is_taken_twice_nor_kept_longer_than_the_window(
    steps: list[tuple[int, int, str]],
) -> None:
    memory = NonceMemory(0, max_nonces=20, max_per_sender=12)
    second = 1_000 * MS
    taken: set[tuple[int, str]] = set()
    for at_s, age_s, sender in steps:
        now_ns = NOW_NS + at_s * second
        nonce_ns = now_ns + age_s * second
        try:
            memory.check_age(nonce_ns, now_ns)
            memory.take(sender, nonce_ns)
        except AuthError:
            continue
        assert (nonce_ns, sender) not in taken
        assert -MAX_AGE_NS <= nonce_ns - now_ns <= MAX_SKEW_NS
        taken.add((nonce_ns, sender))
        assert len(memory) <= 20
    memory.check_age(NOW_NS + 100 * second, NOW_NS + 100 * second)
    assert len(memory) == 0
