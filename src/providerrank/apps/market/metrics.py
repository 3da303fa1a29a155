"""A neuron's counters as Prometheus reads them. Labels are of closed sets: outcomes, codes, reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from providerrank.market.stats import MinerStats, ValidatorStats
from providerrank.rules.cells import NUSD_PER_USD

MICRO: Final = 1_000_000


class _Page:
    """Exposition text, a metric at a time."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, about: str, values: Mapping[str, float] | float, label: str = "") -> None:
        """Add one metric; a mapping has a value for each value of ``label``."""
        full = f"providerrank_{name}"
        self._lines += [f"# HELP {full} {about}", f"# TYPE {full} {kind}"]
        if isinstance(values, Mapping):
            self._lines += [f'{full}{{{label}="{key}"}} {value:g}' for key, value in sorted(values.items())]
        else:
            self._lines.append(f"{full} {values:.10g}")

    def write(self) -> str:
        """The whole page."""
        return "\n".join(self._lines) + "\n"


def write_miner(stats: MinerStats, now_us: int) -> str:
    """The miner's page."""
    page = _Page()
    page.add("miner_epoch", "gauge", "Epoch that is being mined.", stats.epoch)
    page.add("miner_planned_probes", "gauge", "Probes planned for this epoch.", stats.planned)
    page.add("miner_probes_total", "counter", "Probes by outcome.", stats.probes, "outcome")
    page.add("miner_spent_today_usd", "gauge", "Charged today (UTC).", stats.spent_today_nusd / NUSD_PER_USD)
    page.add("miner_commits_total", "counter", "Bundles committed to.", stats.committed)
    page.add("miner_reveals_total", "counter", "Bundles revealed.", stats.revealed)
    page.add("miner_missed_epochs_total", "counter", "Epochs without a bundle, by reason.", stats.missed, "reason")
    page.add("miner_served_total", "counter", "Requests of validators, by status.", stats.served, "status")
    if stats.last_reveal_us:
        age = (now_us - stats.last_reveal_us) / MICRO
        page.add("miner_last_reveal_age_seconds", "gauge", "Since the last bundle was revealed.", age)
    return page.write()


def write_validator(stats: ValidatorStats, now_us: int) -> str:
    """The validator's page."""
    page = _Page()
    page.add("validator_epoch", "gauge", "Epoch that is being judged.", stats.epoch)
    page.add("validator_bundles_total", "counter", "Bundles by what became of them.", stats.bundles, "code")
    page.add("validator_trips_total", "counter", "Bundles that tripped the gate.", stats.trips)
    page.add("validator_replays_total", "counter", "Replays by outcome.", stats.replays, "outcome")
    page.add("validator_references_total", "counter", "References by outcome.", stats.references, "outcome")
    page.add("validator_abstained_cells", "gauge", "Cells the last epoch says nothing of.", stats.abstained_cells)
    page.add("validator_verified_cells", "gauge", "Cells verified in the last epoch.", stats.verified_cells)
    page.add("validator_queue", "gauge", "Replays that wait or are under way.", stats.queue_waiting)
    page.add("validator_spent_today_usd", "gauge", "Charged today (UTC).", stats.spent_today_nusd / NUSD_PER_USD)
    page.add("validator_weights_total", "counter", "Times weights were set.", stats.weights_set)
    page.add("validator_missed_epochs_total", "counter", "Epochs without weights, by reason.", stats.missed, "reason")
    if stats.last_weights_us:
        age = (now_us - stats.last_weights_us) / MICRO
        page.add("validator_last_weights_age_seconds", "gauge", "Since weights were last set.", age)
    return page.write()
