"""Worlds read from recorded behaviour of real endpoints.

Data (read from a folder, never shipped): `openrouter_uptime` gives, for each endpoint of six models at every poll,
the share of routed requests served over the last 5 and 30 minutes, and the list prices as they changed;
`openrouter_endpoint_perf_2026_08` gives the median TTFT of 33 endpoints.

**Success probability.** A poll at time t says what was served in [t - 5 min, t] (`up5m`) and in [t - 30 min, t]
(`up30m`). The 25 minutes before the last five get what makes the two agree, ``(30 up30m - 5 up5m) / 25``, kept
within 0..1; between that and the poll before, the mean of what is known on either side. A blank means idle, not down:
the other figure of the same poll stands in, then the last one known. The status code is not used, since endpoints
with a negative one are routed to all the same. An endpoint belongs to a world if it was listed through all of it and
at least two polls in five had traffic.

**TTFT.** For gpt-oss-120b the median is the endpoint's own where the provider is in the performance file; for the rest
it is drawn from the 33 medians. Spread and tail are drawn from what raw requests showed (`worlds`), the hourly drift
likewise. All draws depend on the endpoint's name and a seed only.
"""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from providerrank.rules.cells import NUSD_PER_USD, TOKENS_PER_PRICE, Price
from providerrank.sim.worlds import DRIFT_SIGMA, Steps, Track, Ttft, World, compute_cap

BODY_SIGMAS = (0.08, 0.10, 0.12, 0.13, 0.16, 0.20, 0.25, 0.27, 0.31, 0.35, 0.57)
"""Log-sigma of the TTFT body over provider x model pairs, deciles as measured (llmperf_leaderboard)."""

TAIL_SHARES = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.007, 0.013, 0.02, 0.09)
"""Share of slow requests over the same pairs (llmperf_leaderboard)."""

MEDIANS_S = (
    0.231, 0.7385, 0.241, 0.2275, 0.286, 1.93025, 0.5185, 0.625, 0.41525, 0.3705, 0.5525, 0.556, 0.8365, 0.839, 0.352,
    0.7175, 0.591, 0.460, 0.8625, 2.4745, 0.49475, 0.3915, 0.384, 0.55, 0.256, 0.54225, 0.2535, 0.239, 0.5275, 0.71625,
    2.49275, 1.1655, 3.8685,
)  # fmt: skip
"""Median TTFT of 33 endpoints of two models in August 2026 (openrouter_endpoint_perf_2026_08)."""

MIN_ACTIVE_SHARE = 0.4
"""Polls with traffic an endpoint needs to be in a world: below it, its true state is mostly a guess."""

PERF_NAMES = {
    "akashml/bf16": "AkashML",
    "amazon-bedrock": "Amazon Bedrock (1)",
    "amazon-bedrock/eu-west-1": "Amazon Bedrock (2)",
    "baseten/fp4": "Baseten",
    "cerebras/fp16": "Cerebras",
    "coreweave/fp4": "CoreWeave",
    "deepinfra/bf16": "DeepInfra",
    "deepinfra/turbo": "DeepInfra (Turbo)",
    "digitalocean": "DigitalOcean",
    "google-vertex/global": "Google Vertex",
    "groq": "Groq",
    "mancer/fp4": "Mancer",
    "mancer/fp8": "Mancer",
    "mara": "MARA",
    "nebius/fp4": "Nebius Token Factory",
    "novita/fp4": "NovitaAI",
    "parasail/fp4": "Parasail",
    "phala": "Phala",
    "sambanova": "SambaNova",
    "siliconflow/fp8": "SiliconFlow",
    "together": "Together",
    "wandb/fp4": "CoreWeave",
}
"""How gpt-oss-120b's endpoints are called in the performance file."""

PERF_MODEL = "openai/gpt-oss-120b"


@dataclass(frozen=True, slots=True)
class Poll:
    """One row of the uptime series, shares 0..1, None where idle."""

    at: datetime
    up5m: float | None
    up30m: float | None


class Recorded:
    """The folder's files, read once."""

    def __init__(self, data: Path) -> None:
        """Raises FileNotFoundError naming the first file that is not in ``data``."""
        self.polls: dict[tuple[str, str], list[Poll]] = defaultdict(list)
        self.prices: dict[tuple[str, str], list[tuple[datetime, Price]]] = defaultdict(list)
        self.medians_s: dict[str, float] = {}
        folder = data / "openrouter_uptime"
        with gzip.open(_one(folder, "uptime_*.csv.gz"), "rt", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                poll = Poll(_time(row["ts_utc"]), _share(row["up5m"]), _share(row["up30m"]))
                self.polls[row["model"], row["endpoint"]].append(poll)
        with _one(folder, "endpoint_terms_*.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                price = Price(_nusd(row["prompt_usd_per_tok"]), _nusd(row["completion_usd_per_tok"]))
                self.prices[row["model"], row["endpoint"]].append((_time(row["valid_from_utc"]), price))
        with _one(data / "openrouter_endpoint_perf_2026_08", "p50_by_endpoint.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["model"] == PERF_MODEL:
                    self.medians_s[row["provider_endpoint"]] = float(row["p50_ttft_ms"]) / 1000.0
        for polls in self.polls.values():
            polls.sort(key=lambda poll: poll.at)
        for prices in self.prices.values():
            prices.sort(key=lambda item: item[0])

    @property
    def models(self) -> list[str]:
        """The models recorded."""
        return sorted({model for model, _ in self.polls})

    def world(self, model: str, start: datetime, hours: float, *, seed: int = 0, is_for_tuning: bool = False) -> World:
        """The world of ``model`` from ``start`` on. Raises ValueError where too little was recorded."""
        short = model.rpartition("/")[2]
        tracks = []
        for (its_model, tag), polls in sorted(self.polls.items()):
            track = self._track(model, short, tag, polls, start, hours, seed) if its_model == model else None
            if track is not None:
                tracks.append(track)
        if len(tracks) < 3:
            raise ValueError(f"only {len(tracks)} endpoints of {model} are recorded from {start} on")
        return World(
            name=f"{short} {start:%m-%d} {hours:g}h",
            source="openrouter_uptime, openrouter_endpoint_perf_2026_08, llmperf_leaderboard",
            model=short,
            hours=hours,
            tracks=tuple(tracks),
            cap=compute_cap([track.price.at(0.0) for track in tracks]),
            is_for_tuning=is_for_tuning,
        )

    def _track(
        self, model: str, short: str, tag: str, polls: list[Poll], start: datetime, hours: float, seed: int
    ) -> Track | None:
        end = start + timedelta(hours=hours)
        margin = timedelta(hours=4)
        during = [poll for poll in polls if start - margin <= poll.at <= end + margin]
        if not during or during[0].at > start + margin or during[-1].at < end - margin:
            return None
        known = [poll for poll in during if _first(poll.up5m, poll.up30m) is not None]
        if len(known) < MIN_ACTIVE_SHARE * len(during):
            return None
        rng = random.Random(f"{seed} {model} {tag}")
        provider, _, variant = tag.replace("#", "-").partition("/")
        return Track(
            endpoint_id=f"{provider}/{short}" + (f":{variant}" if variant else ""),
            success=compute_success(during, start),
            price=_price_steps(self.prices[model, tag], start),
            ttft=self._ttft(model, tag, rng),
            drift=compute_drift(hours, rng),
        )

    def _ttft(self, model: str, tag: str, rng: random.Random) -> Ttft:
        ttft = sample_ttft(rng)
        own_s = self.medians_s.get(PERF_NAMES.get(tag, "")) if model == PERF_MODEL else None
        return ttft if own_s is None else Ttft(own_s, ttft.sigma, ttft.tail_share)


def sample_ttft(rng: random.Random) -> Ttft:
    """A TTFT distribution like those of real endpoints, each part drawn by itself."""
    return Ttft(rng.choice(MEDIANS_S), rng.choice(BODY_SIGMAS), rng.choice(TAIL_SHARES))


def compute_drift(hours: float, rng: random.Random) -> Steps[float]:
    """Hour-by-hour factor on the median TTFT: log-normal, each hour 0.85 correlated with the one before."""
    keep, level, values = 0.85, rng.gauss(0.0, DRIFT_SIGMA), []
    for _ in range(max(1, math.ceil(hours))):
        values.append(math.exp(level))
        level = keep * level + math.sqrt(1.0 - keep * keep) * rng.gauss(0.0, DRIFT_SIGMA)
    return Steps(tuple(float(hour) for hour in range(len(values))), tuple(values))


def compute_success(polls: list[Poll], start: datetime) -> Steps[float]:
    """Success probability by hour from ``start``, as the module says; ``polls`` in order, one of them not idle."""
    times: list[float] = []
    shares: list[float] = []

    def hold(hour: float, share: float) -> None:
        times.append(max(hour, times[-1]) if times else hour)
        shares.append(share)

    last: float | None = None
    last_hour = 0.0
    for poll in polls:
        hour = (poll.at - start).total_seconds() / 3600.0
        recent = _first(poll.up5m, poll.up30m)
        if recent is None:
            continue  # idle: what was last known holds on
        earlier = recent if poll.up30m is None else poll.up30m
        if poll.up5m is not None and poll.up30m is not None:
            earlier = min(1.0, max(0.0, (30.0 * poll.up30m - 5.0 * poll.up5m) / 25.0))
        if last is not None and hour - last_hour > 0.5:
            hold(last_hour, (last + earlier) / 2.0)
        hold(max(hour - 0.5, last_hour), earlier)
        hold(max(hour - 5.0 / 60.0, last_hour), recent)
        last, last_hour = recent, hour
    if last is None:
        raise ValueError("every poll was idle: nothing is known of this endpoint")
    return Steps(tuple(times), tuple(shares))


def _price_steps(changes: list[tuple[datetime, Price]], start: datetime) -> Steps[Price]:
    return Steps(
        tuple((at - start).total_seconds() / 3600.0 for at, _ in changes), tuple(price for _, price in changes)
    )


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder / pattern} is not there")
    return found[0]


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _share(text: str) -> float | None:
    return min(1.0, max(0.0, float(text) / 100.0)) if text else None


def _nusd(usd_per_token: str) -> int:
    return round(float(usd_per_token) * TOKENS_PER_PRICE * NUSD_PER_USD)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
