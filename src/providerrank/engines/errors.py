"""What an engine can say instead of doing its work. Drivers' own errors never leave this package."""

from __future__ import annotations

from providerrank.gateway.ports import LedgerLost


class StoreError(Exception):
    """A store could not be opened, read or written; the message is one sentence for the operator."""


class NewerSchemaError(StoreError):
    """The database was written by a newer ProviderRank; using it here could lose what that one keeps."""

    def __init__(self, place: str, found: str, known: str) -> None:
        super().__init__(
            f"{place} has schema version {found}, newer than {known}, the newest this ProviderRank knows: "
            "upgrade ProviderRank, or point [engines] store at another database."
        )
        self.place = place
        self.found = found
        self.known = known


class StoreUnavailableError(StoreError):
    """The database cannot be reached, opened or written just now."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place} cannot be used: {reason}.")
        self.place = place
        self.reason = reason


class LedgerUnavailableError(StoreError, LedgerLost):
    """The file that budgets are kept in cannot be made or opened; limits are not to be forgotten, so nothing starts."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}, where the budgets of [[keys]] are kept, cannot be used: {reason}.")
        self.place = place
        self.reason = reason


class SandboxUnavailableError(Exception):
    """Untrusted code cannot be isolated here, so it is not run at all."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"code is not run, since it cannot be isolated here: {reason}. The sandbox needs Linux with seccomp "
            "filters, on x86_64 or aarch64; validate without the code task, or on another machine."
        )
        self.reason = reason
