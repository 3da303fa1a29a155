"""Who signs: sr25519 keys and their SS58 addresses, as the chain has them.

There is one identity type from seller to validator, the *hotkey*: an sr25519 public key, written as a Substrate
address (SS58, prefix 42, which Bittensor uses; 48 characters starting with 5). What is signed always starts with
the name of its own purpose (``providerrank/bundle/1``...), so a signature made for one thing proves nothing of another.
"""

from __future__ import annotations

import hashlib
from typing import Final

import sr25519

from providerrank.wire.errors import WireError

PREFIX: Final = 42
"""SS58 network number of generic Substrate chains, Bittensor among them."""
KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
CHECKSUM_BYTES: Final = 2
CHECKSUM_DOMAIN: Final = b"SS58PRE"
ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
"""Base 58 without 0, O, I and l, in Bitcoin's order."""
MAX_ADDRESS: Final = 64
"""Characters past which nothing is decoded: base 58 takes time in the square of its length."""


class BadAddress(WireError):
    """Not an SS58 address of this network."""


class Hotkey:
    """A key that signs, held in memory; its ``repr`` shows the address only."""

    __slots__ = ("_pair", "address")

    def __init__(self, seed: bytes) -> None:
        """Derive the key of a 32-byte seed (Substrate's mini-secret). Raises ``ValueError`` for another length."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a hotkey's seed has {SEED_BYTES} bytes, not {len(seed)}")
        self._pair: tuple[bytes, bytes] = sr25519.pair_from_seed(seed)
        self.address = encode_address(self._pair[0])

    def __repr__(self) -> str:
        return f"Hotkey({self.address})"

    def sign(self, message: bytes) -> bytes:
        """Sign a message; 64 bytes, different each time."""
        signed: bytes = sr25519.sign(self._pair, message)
        return signed


def is_signed(message: bytes, signature: bytes, address: str) -> bool:
    """Whether the hotkey of this address signed this message. Raises ``BadAddress``; a malformed signature is False."""
    key = decode_address(address)
    try:
        valid: bool = sr25519.verify(signature, message, key)
    except ValueError:
        return False
    return valid


def encode_address(key: bytes) -> str:
    """Write a 32-byte public key as an SS58 address."""
    body = bytes([PREFIX]) + key
    number = int.from_bytes(body + _compute_checksum(body))
    digits: list[str] = []
    while number:
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def decode_address(address: str) -> bytes:
    """Return the 32-byte public key of an SS58 address. Raises ``BadAddress``, saying what is wrong with it."""
    if len(address) > MAX_ADDRESS:
        raise BadAddress(f"an address of {len(address)} characters: a hotkey's has 48")
    number = 0
    for character in address:
        digit = ALPHABET.find(character)
        if digit < 0:
            raise BadAddress(f"{address!r} is not an address: {character!r} is not a base-58 digit")
        number = number * len(ALPHABET) + digit
    size = 1 + KEY_BYTES + CHECKSUM_BYTES
    if number.bit_length() > 8 * size or number >> (8 * (size - 1)) != PREFIX or address.startswith(ALPHABET[0]):
        raise BadAddress(f"{address!r} is not an sr25519 address of prefix {PREFIX}")
    raw = number.to_bytes(size)
    body, checksum = raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
    if _compute_checksum(body) != checksum:
        raise BadAddress(f"{address!r} has a wrong checksum: a character was lost or changed")
    return body[1:]


def _compute_checksum(body: bytes) -> bytes:
    return hashlib.blake2b(CHECKSUM_DOMAIN + body).digest()[:CHECKSUM_BYTES]
