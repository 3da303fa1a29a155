"""Worlds built from fitted figures: they need no data, and each asks one hard question.

Figures used, all public measurements:

- prices and median TTFT of gpt-oss-120b at 20 endpoints (openrouter_endpoint_perf_2026_08, prices as paid);
- how often and how long endpoints degrade (openrouter_uptime, 101 endpoints at 15-minute polls, August 2026): below
  50 % served 1.4 times in 100 hours, for 0.41 h on average, at 31 % served in the middle; below 90 %
  11.5 times in 100 hours, for 0.47 h, at 82 %; in between their medians are 96, 97, 99.3, 99.98 and 100 % at
  the 5th, 10th, 25th, 50th and 75th percentile;
- TTFT spread and tails as in `recorded`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from providerrank.rules.cells import Price
from providerrank.sim.recorded import BODY_SIGMAS, MEDIANS_S, TAIL_SHARES, compute_drift
from providerrank.sim.worlds import Steps, Track, Ttft, World, compute_cap

SOURCE = "constructed from openrouter_uptime, openrouter_endpoint_perf_2026_08, llmperf_leaderboard"
MODEL = "gpt-oss-120b"

OFFERS = (
    ("cerebras", 0.231, 0.34985, 0.74945),
    ("sambanova", 0.739, 0.13994, 0.94950),
    ("groq", 0.241, 0.12585, 0.59913),
    ("baseten", 0.228, 0.09986, 0.49941),
    ("nebius", 0.286, 0.14985, 0.59921),
    ("mara", 1.930, 0.14985, 0.74933),
    ("bedrock", 0.519, 0.14985, 0.59938),
    ("deepinfra-turbo", 0.415, 0.14978, 0.59926),
    ("parasail", 0.371, 0.08101, 0.74939),
    ("vertex", 0.553, 0.08981, 0.35964),
    ("novita", 0.556, 0.04983, 0.24943),
    ("phala", 0.837, 0.14984, 0.59937),
    ("akashml", 0.839, 0.02989, 0.16921),
    ("together", 0.352, 0.14979, 0.59851),
    ("mancer", 0.718, 0.08345, 0.49786),
    ("deepinfra", 0.591, 0.03686, 0.16919),
    ("coreweave", 0.460, 0.02987, 0.16918),
    ("digitalocean", 0.863, 0.06726, 0.69902),
    ("siliconflow", 2.475, 0.04985, 0.44865),
)
"""Provider, median TTFT in seconds, USD per million input and output tokens as paid."""

HEALTHY_SHARES = (0.96, 0.971, 0.985, 0.993, 0.997, 0.9995, 0.9998, 1.0, 1.0, 1.0)
"""Share served outside episodes, a tenth of endpoints each."""

DEEP_PER_HOUR = 0.014
DEEP_HOURS = 0.41
DEEP_SHARES = (0.01, 0.17, 0.31, 0.43, 0.48)
MILD_PER_HOUR = 0.115
MILD_HOURS = 0.47
MILD_SHARES = (0.55, 0.72, 0.82, 0.87, 0.89)


def compute_episodes(healthy: float, hours: float, rng: random.Random, rate: float = 1.0) -> Steps[float]:
    """Share served by hour: ``healthy`` with episodes at the recorded rates (times ``rate``) and depths."""
    times, shares, hour = [0.0], [healthy], 0.0
    while True:
        hour += rng.expovariate(rate * (DEEP_PER_HOUR + MILD_PER_HOUR))
        if hour >= hours:
            return Steps(tuple(times), tuple(shares))
        is_deep = rng.random() < DEEP_PER_HOUR / (DEEP_PER_HOUR + MILD_PER_HOUR)
        depth = rng.choice(DEEP_SHARES if is_deep else MILD_SHARES)
        end = hour + rng.expovariate(1.0 / (DEEP_HOURS if is_deep else MILD_HOURS))
        times += [hour, end]
        shares += [min(depth, healthy), healthy]
        hour = end


def override(track: Track, success: Steps[float] | None = None, price: Steps[Price] | None = None) -> Track:
    """The track with another history of success or price."""
    return Track(
        track.endpoint_id,
        track.success if success is None else success,
        track.price if price is None else price,
        track.ttft,
        track.drift,
    )


def during(steps: Steps[float], start: float, end: float, share: float) -> Steps[float]:
    """``steps`` with ``share`` in its place from hour ``start`` to ``end``."""
    before = [(h, v) for h, v in zip(steps.hours, steps.values, strict=True) if h < start]
    after = [(h, v) for h, v in zip(steps.hours, steps.values, strict=True) if h > end]
    pairs = [*before, (start, share), (end, steps.at(end)), *after]
    return Steps(tuple(h for h, _ in pairs), tuple(v for _, v in pairs))


def _tracks(hours: float, rng: random.Random, healthy: Callable[[], float], rate: float = 1.0) -> list[Track]:
    return [
        Track(
            f"{provider}/{MODEL}",
            compute_episodes(healthy(), hours, rng, rate),
            Steps.constant(Price.from_usd(price_in, price_out)),
            Ttft(median_s, rng.choice(BODY_SIGMAS), rng.choice(TAIL_SHARES)),
            compute_drift(hours, rng),
        )
        for provider, median_s, price_in, price_out in OFFERS
    ]


def _world(name: str, hours: float, tracks: list[Track]) -> World:
    cap = compute_cap([track.price.at(0.0) for track in tracks])
    return World(name, SOURCE, MODEL, hours, tuple(tracks), cap)


def _best_first(tracks: list[Track]) -> list[Track]:
    """By what each is worth while healthy: value less the cost of its failures."""
    world = _world("order", 1.0, tracks)

    def worth(track: Track) -> float:
        x = world.relative_price(track.price.at(0.0))
        if x > 1.0:
            return -1.0
        return 0.24 * track.ttft.expected_score() + 0.4 * (1 - x * x) - 0.6 * (1.0 - track.success.at(0.0))

    return sorted(tracks, key=worth, reverse=True)


def build_ordinary(seed: int, hours: float = 72.0) -> World:
    """Nineteen endpoints as usual: most all but never fail, now and then one degrades for half an hour."""
    rng = random.Random(f"ordinary {seed}")
    return _world("built: ordinary", hours, _tracks(hours, rng, lambda: rng.choice(HEALTHY_SHARES)))


def build_all_fail(seed: int, hours: float = 72.0) -> World:
    """Every endpoint fails now and then: 88 to 98 % served, and episodes three times as often as recorded."""
    rng = random.Random(f"all fail {seed}")
    tracks = _tracks(hours, rng, lambda: rng.uniform(0.88, 0.98), rate=3.0)
    return _world("built: every endpoint fails now and then", hours, tracks)


def build_cheap_slow(seed: int, hours: float = 72.0) -> World:
    """The cheapest three are the slowest: TTFT of 1.9 to 3.9 s, and failures of the ordinary kind."""
    rng = random.Random(f"cheap slow {seed}")
    tracks = sorted(
        _tracks(hours, rng, lambda: rng.choice(HEALTHY_SHARES)),
        key=lambda track: track.price.at(0.0).cost_nusd(1200, 200),
    )
    slow = (3.8685, 2.49275, 1.93025)
    for i, median_s in enumerate(slow):
        old = tracks[i]
        ttft = Ttft(median_s, old.ttft.sigma, old.ttft.tail_share)
        tracks[i] = Track(old.endpoint_id, old.success, old.price, ttft, old.drift)
    return _world("built: the cheapest are slow", hours, tracks)


def build_cold_start(seed: int, hours: float = 12.0) -> World:
    """Twenty-four endpoints nobody has tried, 1,200 requests: prices spread around the median, one in six poor."""
    rng = random.Random(f"cold {seed}")
    tracks = []
    for number in range(24):
        _, _, price_in, price_out = rng.choice(OFFERS)
        scale = rng.uniform(0.9, 1.1)
        healthy = rng.uniform(0.5, 0.9) if rng.random() < 1 / 6 else rng.choice(HEALTHY_SHARES)
        tracks.append(
            Track(
                f"seller-{number:02d}/{MODEL}",
                compute_episodes(healthy, hours, rng),
                Steps.constant(Price.from_usd(price_in * scale, price_out * scale)),
                Ttft(rng.choice(MEDIANS_S), rng.choice(BODY_SIGMAS), rng.choice(TAIL_SHARES)),
                compute_drift(hours, rng),
            )
        )
    return _world("built: cold start of 24", hours, tracks)


def build_long_outage(seed: int, hours: float = 48.0) -> World:
    """The best endpoint is down altogether from hour 12 to 24, the second best at half from 18 to 30."""
    rng = random.Random(f"outage {seed}")
    tracks = _best_first(_tracks(hours, rng, lambda: rng.choice(HEALTHY_SHARES)))
    tracks[0] = override(tracks[0], during(tracks[0].success, 12.0, 24.0, 0.0))
    tracks[1] = override(tracks[1], during(tracks[1].success, 18.0, 30.0, 0.5))
    return _world("built: long outage of the best", hours, tracks)


def build_most_out(seed: int, hours: float = 36.0) -> World:
    """A common cause: from hour 12 to 18 all but three of the endpoints are down, not the best among the three."""
    rng = random.Random(f"most out {seed}")
    tracks = _best_first(_tracks(hours, rng, lambda: rng.choice(HEALTHY_SHARES)))
    spared = set(rng.sample(range(4, 12), 3))
    tracks = [
        track if i in spared else override(track, during(track.success, 12.0, 18.0, 0.0))
        for i, track in enumerate(tracks)
    ]
    return _world("built: most are out at once", hours, tracks)


def build_price_changes(seed: int, hours: float = 72.0) -> World:
    """A third of the endpoints reprice several times a day, to between a tenth and 1.3 of their list price."""
    rng = random.Random(f"prices {seed}")
    tracks = _tracks(hours, rng, lambda: rng.choice(HEALTHY_SHARES))
    for i in rng.sample(range(len(tracks)), len(tracks) // 3):
        base = tracks[i].price.at(0.0)
        times, prices, hour = [0.0], [base], 0.0
        while (hour := hour + rng.expovariate(1 / 8.0)) < hours:
            factor = rng.choice((0.1, 0.3, 0.5, 0.7, 0.85, 1.0, 1.0, 1.15, 1.3))
            times.append(hour)
            prices.append(Price(round(base.input_nusd * factor), round(base.output_nusd * factor)))
        tracks[i] = override(tracks[i], price=Steps(tuple(times), tuple(prices)))
    return _world("built: prices change", hours, tracks)


BUILDERS: tuple[Callable[[int], World], ...] = (
    build_ordinary,
    build_all_fail,
    build_cheap_slow,
    build_cold_start,
    build_long_outage,
    build_most_out,
    build_price_changes,
)
"""All of them; each takes a seed."""
