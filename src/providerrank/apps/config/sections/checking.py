"""What the checks of all sections share: what is known of a file, what is said of it, and the kinds of value in it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from providerrank.apps.config.mistakes import KeyPath, Mistake, show
from providerrank.apps.config.tables import CapTable, Config, PriceTable, Secret, WeightsTable
from providerrank.rules.cells import Price
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import compute_expected_cost_nusd

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
WEIGHTS_TOLERANCE = 0.001
"""Shares written with three decimals, like thirds, still count as summing to 1."""

MAX_SPEND_USD = 1e9
"""What an account of 64-bit integers holds with room to spare."""

MAX_SECONDS = 86_400.0
"""A day: past any request that is still worth waiting for, and a slip of units (milliseconds) shows."""


class Checking:
    """The checks of one configuration: what is known of it, what was found, and the kinds of value there are."""

    def __init__(self, config: Config, environ: Mapping[str, str], damaged: Sequence[KeyPath]) -> None:
        self.config = config
        self.environ = environ
        self.damaged = frozenset(damaged)
        self.mistakes: list[Mistake] = []
        self.notes: list[Mistake] = []
        self.endpoint_ids = [endpoint.id for endpoint in config.endpoints if endpoint.id]
        self.served = list(dict.fromkeys(endpoint.model for endpoint in config.endpoints if endpoint.model))
        aliases = {alias: model.id for model in config.models for alias in model.aliases}
        self.aliases = {alias: model for alias, model in aliases.items() if alias not in self.served}

    def say(self, path: KeyPath, sentence: str) -> None:
        """Record a mistake, unless the place is already known to be misshapen."""
        if not any(path[:length] in self.damaged for length in range(1, len(path) + 1)):
            self.mistakes.append(Mistake(path, sentence))

    def note(self, path: KeyPath, sentence: str) -> None:
        """Record something allowed that is probably not meant."""
        self.notes.append(Mistake(path, sentence))

    def check_known(self, path: KeyPath, names: Sequence[str], known: Sequence[str], otherwise: str) -> None:
        """Each name is a known one."""
        for number, name in enumerate(names):
            if name not in known:
                self.say((*path, number), f"is {show(name)}, {otherwise}: {suggest(name, known)}, or remove it.")

    def check_number(
        self,
        path: KeyPath,
        value: float,
        rule: str,
        *,
        least: float | None = None,
        above: float | None = None,
        most: float | None = None,
        unit: str = "",
    ) -> None:
        """Finite and in range; ``rule`` says the range in words."""
        too_small = (least is not None and value < least) or (above is not None and value <= above)
        if not math.isfinite(value) or too_small or (most is not None and value > most):
            remedy = f"write it in {unit}" if unit else "write a number in that range"
            self.say(path, f"is {value:g}, and {rule}: {remedy}.")

    def check_name(self, path: KeyPath, name: str) -> None:
        """Something a request can name: not empty, no blanks around it, nothing invisible."""
        if not name or name != name.strip() or not name.isprintable():
            self.say(path, f"is {show(name)}: a name is at least one visible character, with no blanks around it.")

    def check_weights(self, path: KeyPath, weights: WeightsTable) -> None:
        """Not negative, and summing to 1."""
        shares = (weights.reputation, weights.price)
        for key, share in zip(("reputation", "price"), shares, strict=True):
            self.check_number((*path, key), share, "a weight is from 0 to 1", least=0, most=1)
        total = sum(shares)
        if all(math.isfinite(share) and 0 <= share <= 1 for share in shares) and abs(total - 1) > WEIGHTS_TOLERANCE:
            remedy = "write { reputation = 0.6, price = 0.4 } or other shares of 1"
            if total:
                scaled = round(weights.reputation / total, 3)
                remedy = (
                    f"in the same proportion that is {{ reputation = {scaled:g}, price = {round(1 - scaled, 3):g} }}"
                )
            self.say(path, f"is {weights.reputation:g} and {weights.price:g}, and weights sum to 1: {remedy}.")

    def check_secret(self, path: KeyPath, secret: Secret, *, address: bool = False) -> bool:
        """Set, and fit for a header; says nothing of what it is. Return whether it can be used.

        An ``address`` is secret only where it has a password in it.
        """
        name = secret.variable
        value = secret.reveal(self.environ)
        if name is not None and not VARIABLE.fullmatch(name):
            self.say(path, 'names no variable after "env:": write letters, digits and _ there, as in "env:MY_KEY".')
        elif name is not None and value is None:
            self.say(path, f"needs the environment variable {name}, which is not set: export {name}=… and start again.")
        elif name is not None and not value:
            self.say(path, f"needs the environment variable {name}, which is empty: export {name}=… and start again.")
        elif not value:
            self.say(path, 'is empty: write "env:NAME", with the variable that holds it, or remove the key.')
        elif not address and (not value.isascii() or not value.isprintable() or " " in value):
            where = f"what the environment variable {name} holds" if name else "what is written here"
            self.say(path, f"cannot be sent as a key: {where} has a blank, a line break or a letter outside ASCII.")
        else:
            if name is None and (not address or urlsplit(value).password is not None):
                self.note(path, 'holds the secret itself: write "env:NAME" and keep it out of the file.')
            return True
        return False


def is_above(price: PriceTable, cap: CapTable) -> bool:
    """Whether the router leaves an endpoint out for its price, whatever the task."""
    if not all(math.isfinite(side) for side in (price.input, price.output)):
        return False
    listed, most = Price.from_usd(price.input, price.output), Price.from_usd(cap.input, cap.output)
    return all(
        compute_expected_cost_nusd(listed, task) > compute_expected_cost_nusd(most, task)
        for task in PARAMS.tasks.values()
    )


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return "did you mean …", or what there is to choose from."""
    from difflib import get_close_matches

    choices = list(known)
    near = get_close_matches(wrong, choices, 1)
    if near:
        return f"the nearest is {show(near[0])}"
    if not choices:
        return "there is none to name"
    listed = ", ".join(choices[:5])
    return (
        f"the known ones are {listed}" if len(choices) <= 5 else f"known ones are {listed} and {len(choices) - 5} more"
    )
