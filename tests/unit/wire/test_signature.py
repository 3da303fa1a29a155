from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.wire.signature import BadAddress, Hotkey, decode_address, encode_address, is_signed

VECTORS = Path(__file__).parents[2] / "vectors" / "sr25519.json"


class KeyVector(msgspec.Struct, forbid_unknown_fields=True):
    seed: str
    public_key: str
    address: str
    message: str
    signature: str


class KeyVectors(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    keys: list[KeyVector]


KEYS = msgspec.json.decode(VECTORS.read_bytes(), type=KeyVectors).keys
KEY = Hotkey(bytes(32))


@pytest.mark.parametrize("vector", KEYS, ids=lambda vector: vector.address)
def test_keys_and_signatures_are_the_chains_own(vector: KeyVector) -> None:
    key = Hotkey(bytes.fromhex(vector.seed))
    assert key.address == vector.address
    assert decode_address(vector.address).hex() == vector.public_key
    message = bytes.fromhex(vector.message)
    assert is_signed(message, bytes.fromhex(vector.signature), vector.address)
    assert is_signed(message, key.sign(message), vector.address)


@given(st.binary(max_size=64), st.integers(0, 63), st.integers(1, 255))
def test_any_change_of_a_signature_or_a_message_is_seen(message: bytes, at: int, change: int) -> None:
    signature = bytearray(KEY.sign(message))
    signature[at] ^= change
    assert not is_signed(message, bytes(signature), KEY.address)
    assert not is_signed(message + b"x", KEY.sign(message), KEY.address)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64])
def test_what_is_no_signature_is_not_one(signature: bytes) -> None:
    assert not is_signed(b"", signature, KEY.address)


def test_another_key_did_not_sign() -> None:
    assert not is_signed(b"m", KEY.sign(b"m"), Hotkey(b"\x01" * 32).address)
    assert not is_signed(b"m", KEY.sign(b"m"), encode_address(b"\xff" * 32))  # not a point of the curve


@given(st.binary(min_size=32, max_size=32))
def test_addresses_of_all_keys_are_read_back(key: bytes) -> None:
    address = encode_address(key)
    assert decode_address(address) == key
    assert address[0] == "5"
    assert len(address) == 48


@given(st.integers(0, 47), st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"))
def test_a_changed_character_is_seen(at: int, character: str) -> None:
    address = KEY.address[:at] + character + KEY.address[at + 1 :]
    if address != KEY.address:
        with pytest.raises(BadAddress):
            decode_address(address)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "not an sr25519 address of prefix 42"),
        ("5", "not an sr25519 address"),
        ("1" + KEY.address, "not an sr25519 address"),
        (KEY.address + "1", "not an sr25519 address"),
        (KEY.address[:-1] + "0", "'0' is not a base-58 digit"),
        ("5" * 65, "an address of 65 characters"),
        ("15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5", "prefix 42"),
    ],
)
def test_what_is_no_address_says_why(address: str, message: str) -> None:
    with pytest.raises(BadAddress, match=message):
        decode_address(address)


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        Hotkey(bytes(31))


def test_a_key_does_not_show_its_secret() -> None:
    assert repr(KEY) == f"Hotkey({KEY.address})"
