"""What a neuron needs of a chain, and nothing more: shaped so that Bittensor and a file on this machine can both be it.

Three facts of Bittensor (SDK 11) gave the port its shape (what maps to what: docs/adr/0011-the-chain-port.md):

- A commitment is raw bytes, at most 128 in one field, of which only a hotkey's latest is kept, and a hotkey has 3,100
  bytes an epoch of at least 100 a call. So what is committed to is a hash, what is revealed is short (the salt), the
  bundle itself goes from neuron to neuron over signed HTTP, and a commitment is read as of its deadline's block.
- The schedule of epochs is the chain's own state, not a formula of the block number. So ``head`` says which epoch it
  is and from where to where, and everything else follows from that (``rules.schedule``).
- Weights may be sealed until an epoch later, by the chain's own choice. So ``set_weights`` promises when they were
  *set*, not when they count.

Every call may be repeated after a crash: nothing is done twice. What was done already is answered as it was the first
time, but for weights, where the answer is ``RateLimited``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from providerrank.rules.schedule import Phases, compute_phases

RAO: Final = 1_000_000_000
"""The smallest unit: so many are one TAO (or one of a subnet's own coin)."""
BEACON_BYTES: Final = 32
DIGEST_CHARACTERS: Final = 64
"""Of a commitment: a SHA-256 hash in lower-case hex."""
MAX_OPENING_BYTES: Final = 96
"""Of a reveal: Bittensor's field of 128 bytes, less what names purpose and epoch; room for three hashes."""

WeightRow: TypeAlias = tuple[tuple[int, int], ...]
"""One validator's weights: (uid, 1..65535) pairs by uid."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain is. Blocks ``begins`` until before ``ends`` are epoch ``epoch``; times in Unix microseconds.

    On a chain whose schedule can change, ``ends`` is what is expected now.
    """

    block: int
    time_us: int
    epoch: int
    begins: int
    ends: int

    @property
    def phases(self) -> Phases:
        """The deadlines of the present epoch."""
        return compute_phases(self.epoch, self.begins, self.ends)


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """The subnet's settings that a neuron goes by; blocks, rao, and shares of 65535."""

    netuid: int
    tempo_blocks: int
    block_time_us: int
    max_uids: int
    max_validators: int
    immunity_blocks: int
    """A new neuron is not replaced for so long."""
    registration_rao: int
    """What a registration costs now; it is burned."""
    weights_rate_limit_blocks: int
    """Between two settings of weights by one neuron."""
    weights_version: int
    """What weights have to name at least; 0: nothing."""
    min_allowed_weights: int
    max_weight_u16: int
    """Greatest share of a row one weight may have."""
    activity_cutoff_blocks: int
    """A validator that has set no weights for longer does not count."""
    weights_are_sealed: bool
    """Weights set now count only from a later epoch on, and are secret until then."""


@dataclass(frozen=True, slots=True)
class Neuron:
    """A row of the metagraph. Shares are of 65535, as of the last epoch's end."""

    uid: int
    hotkey: str
    coldkey: str
    stake_rao: int
    active: bool
    permit: bool
    """May set weights that count."""
    last_update: int
    """Block at which it last set weights."""
    registered_at: int
    trust_u16: int
    consensus_u16: int
    incentive_u16: int
    dividends_u16: int
    emission_rao: int
    """Of the last epoch."""
    address: str | None
    """Where it serves, as ``host:port`` with a literal IP; None if it has not said."""


@dataclass(frozen=True, slots=True)
class Metagraph:
    """All neurons, by uid without gaps, at one block."""

    netuid: int
    block: int
    owner_uid: int | None
    """Whose emission is burned; None where the owner's hotkey holds no uid."""
    neurons: tuple[Neuron, ...]

    def find(self, hotkey: str) -> Neuron | None:
        """The neuron of a hotkey; None where it is not registered."""
        return next((neuron for neuron in self.neurons if neuron.hotkey == hotkey), None)


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a hotkey committed to in an epoch, and what it revealed, each with the block it was published in.

    The chain vouches for who and when, not for what: that ``opening`` opens ``digest`` is the reader's to check.
    """

    hotkey: str
    epoch: int
    digest: str
    """64 hex digits."""
    block: int
    opening: bytes | None = None
    """None: nothing was revealed in time."""
    revealed_at: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Something was accepted, in this block; of a repeated call, the block of the first."""

    block: int


class ChainReader(Protocol):
    """What anybody may read. Every call raises ``ChainUnavailable`` where the chain cannot be asked."""

    async def head(self) -> Head:
        """Where the chain is now."""
        ...

    async def hyperparameters(self) -> Hyperparameters:
        """The subnet's settings now."""
        ...

    async def beacon(self, block: int) -> bytes:
        """A block's hash: 32 bytes nobody knew before the block existed. Raises ``TooEarly`` for a block to come.

        Whoever makes a block could choose among a few hashes by withholding blocks. What hangs on this one is
        which challenges are drawn, for everybody alike: not worth a block.
        """
        ...

    async def metagraph(self) -> Metagraph:
        """All neurons now."""
        ...

    async def weights(self) -> Mapping[int, WeightRow]:
        """What each validator that set weights said last, where it is not sealed: by uid of the validator."""
        ...

    async def commitments(self, phases: Phases) -> tuple[Commitment, ...]:
        """An epoch's commitments that were in time, in the order they were made, each with its reveal if in time.

        Read them soon after ``reveal_until``: chains keep old state for an hour or so only.
        """
        ...

    async def advance(self, block: int) -> Head:
        """Wait until a block exists, and return where the chain then is; at once if it does."""
        ...

    async def close(self) -> None:
        """Let go of the connection. Nothing works after it; a second call does nothing."""
        ...


class Chain(ChainReader, Protocol):
    """A chain as one neuron sees it: what is done is done in its ``hotkey``'s name.

    Every call raises ``ChainUnavailable`` where it is not known whether it was done: repeat it. The other errors are
    the chain's answer (``market.errors``), and the same as on any other chain.
    """

    @property
    def hotkey(self) -> str:
        """SS58 address of who acts."""
        ...

    async def register(self) -> int:
        """Take a uid, and burn what that costs; returns the uid, of a hotkey registered already the one it has.

        Raises ``NotEnoughFunds``, ``NoRoom`` or ``RateLimited``.
        """
        ...

    async def announce(self, address: str) -> Receipt:
        """Publish where this neuron serves: ``127.0.0.1:9100`` or ``[::1]:9100``; no names, a chain keeps numbers.

        Raises ``NotRegistered``, ``RateLimited``, or ValueError for what is no such address.
        """
        ...

    async def commit(self, epoch: int, digest: str) -> Receipt:
        """Commit to a hash, once per epoch; the same hash again is answered with the first one's block.

        Raises ``NotRegistered``, ``TooEarly``, ``DeadlinePassed``, ``AlreadyCommitted`` (to another one), or ValueError
        for what is not 64 lower-case hex digits.
        """
        ...

    async def reveal(self, epoch: int, opening: bytes) -> Receipt:
        """Publish what opens the epoch's commitment: 1 to 96 bytes, in the phase for it; repeated as ``commit`` is.

        Raises ``NotRegistered``, ``NotCommitted``, ``TooEarly``, ``DeadlinePassed``, ``AlreadyCommitted`` or
        ``TooLarge``.
        """
        ...

    async def set_weights(self, weights: Mapping[int, int], version: int = 0) -> Receipt:
        """Replace this validator's weights: uid to 0..65535, greatest 65535, as ``rules.emission`` makes them.

        Zeros are the same as absent. After ``ChainUnavailable`` or a restart one's own ``last_update`` says whether
        they were set; a repetition is ``RateLimited``.
        Raises ``NotRegistered``, ``NoPermit``, ``RateLimited`` or ``BadWeights``.
        """
        ...
