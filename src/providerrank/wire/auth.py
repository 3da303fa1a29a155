"""Signed HTTP between neurons, in the form ``btauth/1`` of Bittensor's SDK: who asks, whom, for what, just now.

A request carries in its headers the sender's hotkey, the receiver's, a nonce (nanoseconds of Unix time at which it was
signed), and an sr25519 signature over these lines, joined by a newline each::

    btauth/1, sr25519, METHOD, request target with its query, SHA-256 of the body in hex, nonce, sender, receiver

So nothing of it can be changed, kept for later or sent to another neuron. What the headers claim and the request itself
shows (method, target, body) is taken from the request. Both chains use this form, and the SDK's own ``http_auth`` reads
it.

*Replay.* A nonce is taken within 10 s after it was signed, and up to 2 s before, for clocks that differ; once.
``NonceMemory`` keeps what it took for exactly as long as the window would still let it in, and a floor below which
nothing is: it only rises, so neither a clock set back nor a process restarted lets an old request in again. It is
bounded, for each sender and in all: when it is full it refuses, since what it forgot could be replayed.

Sans-I/O: the clock is an argument. Narrower than the SDK where that is looser: sr25519 only, decimal digits only, a
receiver always.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from providerrank.wire.errors import WireError
from providerrank.wire.signature import SIGNATURE_BYTES, BadAddress, Hotkey, decode_address, is_signed

PROTOCOL: Final = "btauth/1"
VERSION: Final = "1"
SCHEME: Final = "sr25519"

VERSION_HEADER: Final = "x-bittensor-version"
HOTKEY_HEADER: Final = "x-bittensor-hotkey"
RECEIVER_HEADER: Final = "x-bittensor-receiver"
NONCE_HEADER: Final = "x-bittensor-nonce"
SCHEME_HEADER: Final = "x-bittensor-crypto"
SIGNATURE_HEADER: Final = "x-bittensor-signature"

MAX_AGE_NS: Final = 10_000_000_000
MAX_SKEW_NS: Final = 2_000_000_000
"""Both are the SDK's defaults, so that what one side sends in good time the other takes."""

MAX_NONCES: Final = 100_000
"""Requests remembered in all: 8,000 a second through the window, far more than one process answers."""
MAX_NONCES_PER_SENDER: Final = 2_000
"""Of one sender, 160 a second: so no one neuron keeps the others out."""

NONCE: Final = re.compile(r"[1-9][0-9]{0,19}", re.ASCII)
SIGNATURE: Final = re.compile(rf"(?:0x)?([0-9a-fA-F]{{{2 * SIGNATURE_BYTES}}})", re.ASCII)
LINE: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)
"""Method and target: visible ASCII, so nothing in them can look like the end of their line."""


class AuthError(WireError):
    """A request nobody has to answer. The message never repeats what was sent; ``status`` is the HTTP answer."""

    status: ClassVar[int] = 401


class MalformedAuth(AuthError):
    """A header is missing or cannot be read."""


class WrongReceiver(AuthError):
    """The request was signed for another neuron."""


class UnknownSender(AuthError):
    """The sender is nobody this neuron serves."""

    status: ClassVar[int] = 403


class StaleRequest(AuthError):
    """Signed too long ago, or in what is still the future here: one of the two clocks is wrong."""


class BadSignature(AuthError):
    """Not signed by the hotkey it names, or changed since."""


class ReplayedRequest(AuthError):
    """The same request came before."""


class TooManyRequests(AuthError):
    """More requests than can be remembered: later ones are taken again."""

    status: ClassVar[int] = 429


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a verified request, and when by its own clock."""

    hotkey: str
    nonce_ns: int


class NonceMemory:
    """Which requests were taken; of one neuron, for as long as its process runs."""

    __slots__ = ("_by_age", "_floor_ns", "_max", "_max_per_sender", "_of_sender", "_taken")

    def __init__(
        self, started_ns: int, max_nonces: int = MAX_NONCES, max_per_sender: int = MAX_NONCES_PER_SENDER
    ) -> None:
        """Take nothing signed before ``started_ns``, the process's start, or up to 2 s after it by a clock ahead.

        So what the process before this one took is not taken again. 0 where doing it again would do no harm.
        """
        self._floor_ns = started_ns + MAX_SKEW_NS
        self._max = max_nonces
        self._max_per_sender = max_per_sender
        self._by_age: list[tuple[int, str]] = []
        self._taken: set[tuple[int, str]] = set()
        self._of_sender: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._taken)

    def check_age(self, nonce_ns: int, now_ns: int) -> None:
        """Raise ``StaleRequest`` for a nonce outside of the window."""
        self._forget(now_ns)
        if nonce_ns <= self._floor_ns:
            raise StaleRequest(
                f"signed too long ago: a request is taken for {MAX_AGE_NS // 10**9} s, and none from before a restart"
            )
        if nonce_ns - now_ns > MAX_SKEW_NS:
            raise StaleRequest(f"signed more than {MAX_SKEW_NS // 10**9} s ahead of this clock")

    def take(self, sender: str, nonce_ns: int) -> None:
        """Remember a request whose age was checked. Raises ``ReplayedRequest`` or ``TooManyRequests``."""
        entry = (nonce_ns, sender)
        if entry in self._taken:
            raise ReplayedRequest("this request came before")
        if len(self._taken) >= self._max or self._of_sender[sender] >= self._max_per_sender:
            raise TooManyRequests(f"too many requests within {MAX_AGE_NS // 10**9} s: send this one later, signed anew")
        self._taken.add(entry)
        self._of_sender[sender] += 1
        heapq.heappush(self._by_age, entry)

    def _forget(self, now_ns: int) -> None:
        """Raise the floor to the window's end, and let go of what is below it."""
        self._floor_ns = max(self._floor_ns, now_ns - MAX_AGE_NS - 1)
        while self._by_age and self._by_age[0][0] <= self._floor_ns:
            entry = heapq.heappop(self._by_age)
            self._taken.remove(entry)
            self._of_sender[entry[1]] -= 1
            if not self._of_sender[entry[1]]:
                del self._of_sender[entry[1]]


def build_payload(method: str, target: str, body: bytes, nonce_ns: int, sender: str, receiver: str) -> bytes:
    """Return the bytes that are signed."""
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join((PROTOCOL, SCHEME, method.upper(), target, digest, str(nonce_ns), sender, receiver)).encode()


def sign_request(key: Hotkey, *, method: str, target: str, body: bytes, receiver: str, nonce_ns: int) -> dict[str, str]:
    """Return the headers to send with a request. ``nonce_ns`` is now; each try of a request needs its own.

    ``target`` is what stands in the request line: path and query, encoded as sent. Raises ``BadAddress`` for a receiver
    that is none, ValueError for a method or target that no request can have.
    """
    if not LINE.fullmatch(method) or not LINE.fullmatch(target):
        raise ValueError(f"{method[:20]!r} {target[:80]!r} is no request line: method and target are visible ASCII")
    decode_address(receiver)
    signature = key.sign(build_payload(method, target, body, nonce_ns, key.address, receiver))
    return {
        VERSION_HEADER: VERSION,
        HOTKEY_HEADER: key.address,
        RECEIVER_HEADER: receiver,
        NONCE_HEADER: str(nonce_ns),
        SIGNATURE_HEADER: "0x" + signature.hex(),
    }


def verify_request(
    headers: Mapping[str, str],
    *,
    method: str,
    target: str,
    body: bytes,
    receiver: str,
    now_ns: int,
    memory: NonceMemory,
    is_known: Callable[[str], bool],
) -> Caller:
    """Return who sent a request, or raise an ``AuthError`` saying why nobody has to answer it.

    ``headers`` by lower-case name; ``body`` as received, before any decoding; ``receiver`` is this neuron's own
    hotkey; ``is_known`` says whom it serves. What is cheap is checked first, and a request leaves a trace
    in the memory only once its signature was verified: strangers can neither fill it nor spend another's nonce.
    """
    if headers.get(VERSION_HEADER) != VERSION:
        raise MalformedAuth(f"{VERSION_HEADER} is missing or is not {VERSION}")
    if headers.get(SCHEME_HEADER, SCHEME) != SCHEME:
        raise MalformedAuth(f"{SCHEME_HEADER} is not {SCHEME}, the one kind of key taken here")
    sender = headers.get(HOTKEY_HEADER, "")
    try:
        decode_address(sender)
    except BadAddress:
        raise MalformedAuth(f"{HOTKEY_HEADER} is missing or is no address") from None
    nonce = headers.get(NONCE_HEADER, "")
    if not NONCE.fullmatch(nonce):
        raise MalformedAuth(f"{NONCE_HEADER} is missing or is not a decimal number of nanoseconds")
    nonce_ns = int(nonce)
    written = SIGNATURE.fullmatch(headers.get(SIGNATURE_HEADER, ""))
    if written is None:
        raise MalformedAuth(f"{SIGNATURE_HEADER} is missing or is not {2 * SIGNATURE_BYTES} hex digits")
    if not LINE.fullmatch(method) or not LINE.fullmatch(target):
        raise MalformedAuth("method or target holds what is not visible ASCII")
    if headers.get(RECEIVER_HEADER) != receiver:
        raise WrongReceiver(f"{RECEIVER_HEADER} is missing or names another neuron")
    if not is_known(sender):
        raise UnknownSender("the sender is not among the neurons served here")
    memory.check_age(nonce_ns, now_ns)
    payload = build_payload(method, target, body, nonce_ns, sender, receiver)
    if not is_signed(payload, bytes.fromhex(written[1]), sender):
        raise BadSignature(f"{SIGNATURE_HEADER} is not the sender's over this request")
    memory.take(sender, nonce_ns)
    return Caller(sender, nonce_ns)
