"""What a chain can answer instead of doing what a neuron asked.

Two branches. ``Refused``: the chain is well and says no; asking the same again changes nothing before what the error
names has changed. ``ChainUnavailable``: the chain could not be asked, or its answer is not known; asking again later is
right, and every call of the port may be repeated safely.
"""

from __future__ import annotations


class ChainError(Exception):
    """Base of all; the message is one sentence for the operator."""


class ChainUnavailable(ChainError):
    """The chain could not be reached, or does not work; nothing is known of what was asked for."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place} cannot be used: {reason}.")
        self.place = place
        self.reason = reason


class Refused(ChainError):
    """The chain said no."""


class NotRegistered(Refused):
    """The hotkey has no uid."""

    def __init__(self, hotkey: str) -> None:
        super().__init__(f"{hotkey} is not registered: register it first.")
        self.hotkey = hotkey


class NotEnoughFunds(Refused):
    """An account holds less than what it asked for costs; in rao."""

    def __init__(self, account: str, needed_rao: int, held_rao: int) -> None:
        super().__init__(f"{account} holds {held_rao} rao and this takes {needed_rao}: fund it first.")
        self.account = account
        self.needed_rao = needed_rao
        self.held_rao = held_rao


class NoRoom(Refused):
    """All uids are taken, and every one of them is still immune."""

    def __init__(self, until_block: int) -> None:
        super().__init__(f"every uid is taken and immune: one can be replaced from block {until_block} on.")
        self.until_block = until_block


class RateLimited(Refused):
    """Too soon after the last time."""

    def __init__(self, what: str, until_block: int) -> None:
        super().__init__(f"{what} again so soon is refused: wait until block {until_block}.")
        self.until_block = until_block


class TooEarly(Refused):
    """Not open yet, or a block that does not exist yet."""

    def __init__(self, what: str, from_block: int, block: int) -> None:
        super().__init__(f"{what} is possible from block {from_block} on, and this is block {block}.")
        self.from_block = from_block
        self.block = block


class DeadlinePassed(Refused):
    """Not open any longer."""

    def __init__(self, what: str, until_block: int, block: int) -> None:
        super().__init__(f"{what} was possible before block {until_block}, and this is block {block}.")
        self.until_block = until_block
        self.block = block


class AlreadyCommitted(Refused):
    """The hotkey has committed to, or revealed, something else in this epoch; the first stands."""

    def __init__(self, hotkey: str, epoch: int, what: str) -> None:
        super().__init__(f"{hotkey} has {what} something else in epoch {epoch} already: the first stands.")
        self.hotkey = hotkey
        self.epoch = epoch


class NotCommitted(Refused):
    """There is no commitment to reveal."""

    def __init__(self, hotkey: str, epoch: int) -> None:
        super().__init__(f"{hotkey} has committed to nothing in epoch {epoch}: nothing can be revealed.")
        self.hotkey = hotkey
        self.epoch = epoch


class NoPermit(Refused):
    """The neuron may not validate: others hold more stake, or the epoch that would permit it has not ended yet."""

    def __init__(self, hotkey: str, uid: int) -> None:
        super().__init__(
            f"uid {uid}, {hotkey}, has no validator permit: it goes to the greatest stakes at an epoch's end."
        )
        self.hotkey = hotkey
        self.uid = uid


class BadWeights(Refused):
    """Weights the chain would not take: the reason says which rule they break."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"these weights are refused: {reason}.")
        self.reason = reason


class TooLarge(Refused):
    """More bytes than the chain keeps for one hotkey and epoch."""

    def __init__(self, what: str, size: int, allowed: int) -> None:
        super().__init__(f"{what} has {size} bytes, and {allowed} is the most there is room for.")
        self.size = size
        self.allowed = allowed
