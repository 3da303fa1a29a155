"""A page's values to HTML: pure functions of text to text.

Everything variable passes through ``escape``. No style attributes and no inline script: the
page's content security policy allows neither, so bars are drawn as SVG, whose sizes are
attributes. Whatever a bar or a colour says is also there as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final
from urllib.parse import quote

from providerrank.apps.admin.page.html import document, escape, money, percent, seconds
from providerrank.apps.admin.page.requests import FIND, render_latest
from providerrank.apps.admin.view import (
    BudgetView,
    EndpointView,
    FailureView,
    KeyView,
    PageView,
    RankingView,
    UsageView,
    WeightsView,
)
from providerrank.rules.explanation import Brief

ASSETS: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files of this package that are served, by name, with their media types."""

REPUTATION_PARTS: Final = (("latency", 0.4), ("reliability", 0.4), ("uptime", 0.2))
"""How the reputation's share of the bar is divided, as the ranking rules divide it."""

BAR_WIDTH: Final = 120

MAX_KEYS: Final = 50
"""Rows of keys; more are for programs."""

STATES: Final = {
    "ok": ("healthy", "●"),
    "suspect": ("suspect", "◑"),
    "cooling": ("cooling", "◔"),
    "out": ("believed out", "○"),
    "excluded": ("excluded", "✕"),
}
"""How each state is worded and marked; the mark differs in shape, so colour is never the only sign."""


def get_asset(name: str) -> bytes:
    """Read one of ``ASSETS`` from the package."""
    return files("providerrank.apps.admin.page").joinpath(name).read_bytes()


def render_page(view: PageView, latest: Sequence[Brief] = ()) -> str:
    """Write the whole document."""
    header = f"""<header>
<h1><img src="/page/icon.svg" alt="" width="26" height="26"> ProviderRank</h1>
<p class="version">{escape(view.version)}</p>
<form method="get" action="/" aria-label="What to rank for">
<label>Task <select name="task">{_options(view.tasks, view.task)}</select></label>
{_tier_select(view)}<button>Show</button>
</form>
{FIND if latest else ""}
<p class="live"><span id="age" role="status"></span>
<button id="pause" type="button" aria-pressed="false" hidden>Pause</button></p>
</header>"""
    body = f"""<main id="live">
{render_live(view, latest)}
</main>
<footer>
<p class="legend" aria-label="Parts of a score">A score is the sum of
<span class="key latency">latency</span> <span class="key reliability">reliability</span>
<span class="key uptime">uptime</span> and <span class="key price">price</span>,
less what the belief in an outage takes off.</p>
<p><a href="/metrics">Metrics</a> <a href="/openapi.json">OpenAPI</a> <a href="/ready">Readiness</a></p>
</footer>"""
    return document("ProviderRank", header, body, _SCRIPT)


_SCRIPT: Final = """<script src="/page/page.js" defer></script>
<noscript><meta http-equiv="refresh" content="10"></noscript>
"""


def render_live(view: PageView, latest: Sequence[Brief] = ()) -> str:
    """Write the part that is fetched again and again: the figures and every table."""
    rankings = zip(view.rankings, view.left_out, strict=True)
    parts = [_figures(view), *(_ranking(ranking, left_out, view.at_s) for ranking, left_out in rankings)]
    if view.usage is not None:
        parts.append(_usage(view.usage))
    parts.append(render_latest(latest))
    return "\n".join(parts)


def _usage(usage: UsageView) -> str:
    rows = "\n".join(_key_row(key) for key in usage.keys[:MAX_KEYS])
    left_out = len(usage.keys) - MAX_KEYS
    more = f'<p class="more">{left_out:,} more: <a href="/v1/usage">all keys as JSON</a></p>' if left_out > 0 else ""
    return f"""<section>
<h2>Keys</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Usage of keys">
<table>
<thead><tr>
<th scope="col">Key</th>
<th scope="col" class="n"><abbr title="{escape(usage.day)}, UTC; what requests under way have set aside is in it">Spent
today</abbr></th>
<th scope="col" class="n">Requests today</th>
<th scope="col" class="n"><abbr title="Prompt tokens and completion tokens">Tokens today</abbr></th>
<th scope="col" class="n">Requests this minute</th>
<th scope="col" class="n">Tokens this minute</th>
<th scope="col">May use</th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
{more}</section>"""


def _key_row(key: KeyView) -> str:
    models = "all models" if key.models is None else ", ".join(key.models)
    tiers = f"<small>{escape(', '.join(key.tiers))}</small>" if key.tiers else ""
    cells = (
        f'<th scope="row"><b>{escape(key.key)}</b></th>',
        f'<td class="n">{_budget(key.spend_today, money)}</td>',
        f'<td class="n">{key.requests_today:,}</td>',
        f'<td class="n">{key.input_tokens_today:,} / {key.output_tokens_today:,}</td>',
        f'<td class="n">{_budget(key.requests_this_minute, _count)}</td>',
        f'<td class="n">{_budget(key.tokens_this_minute, _count)}</td>',
        f"<td>{escape(models)}{tiers}</td>",
    )
    return f"<tr>{''.join(cells)}</tr>"


def _budget(budget: BudgetView, write: Callable[[float], str]) -> str:
    limit = "no limit" if budget.limit is None else f"of {write(budget.limit)}"
    return f"{write(budget.used)}<small>{limit}</small>"


def _figures(view: PageView) -> str:
    figures = view.figures
    state = (
        '<strong class="yes">● Ready</strong>'
        if view.ready
        else f'<strong class="no">○ Not ready</strong> <small>{escape(view.not_ready_because or "")}</small>'
    )
    tiles = (
        ("State", state),
        ("Endpoints offered", f"<strong>{figures.endpoints_offered:,}</strong> of {figures.endpoints:,}"),
        ("Requests", f"<strong>{figures.requests:,}</strong>"),
        ("Failed for the client", f"<strong>{figures.failed_requests:,}</strong>"),
        ("Fallbacks", f"<strong>{figures.fallbacks:,}</strong>"),
        ("Streams continued", f"<strong>{figures.continuations:,}</strong>"),
        ("Under way", f"<strong>{figures.pending:,}</strong>"),
        ("Cost at list price", f"<strong>{money(figures.cost_usd)}</strong>"),
    )
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    return f'<dl class="figures">{cells}</dl>'


def _ranking(ranking: RankingView, left_out: int, now_s: float) -> str:
    rows = "\n".join(_row(endpoint, ranking.weights, now_s) for endpoint in ranking.endpoints)
    more = (
        f'<p class="more">{left_out:,} more: '
        f'<a href="/v1/rankings/{quote(ranking.model)}">the whole ranking as JSON</a></p>'
        if left_out
        else ""
    )
    return f"""<section>
<h2>{escape(ranking.model)}</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Ranking of {escape(ranking.model)}">
<table>
<thead><tr>
<th scope="col" class="n"><abbr title="Rank: 1 is tried first">#</abbr></th>
<th scope="col">Endpoint</th>
<th scope="col">Score and its parts</th>
<th scope="col" class="n">TTFT p50</th>
<th scope="col" class="n">p95</th>
<th scope="col" class="n">Success</th>
<th scope="col" class="n"><abbr title="US dollars per million tokens, input / output">Price</abbr></th>
<th scope="col" class="n">In flight</th>
<th scope="col">State</th>
<th scope="col">Last failure</th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
{more}</section>"""


def _row(endpoint: EndpointView, weights: WeightsView, now_s: float) -> str:
    word, mark = STATES[endpoint.state]
    reason = f"<small>{escape(endpoint.reason)}</small>" if endpoint.reason else ""
    rank = "" if endpoint.rank is None else str(endpoint.rank)
    _, _, rest = endpoint.endpoint.partition("/")
    cells = (
        f'<td class="n rank">{rank}</td>',
        f'<th scope="row"><b>{escape(endpoint.provider)}</b><small>/{escape(rest)}</small></th>',
        f"<td>{_score(endpoint, weights)}</td>",
        f'<td class="n">{_median(endpoint)}</td>',
        f'<td class="n">{seconds(endpoint.ttft_p95_s)}</td>',
        f'<td class="n">{percent(endpoint.success)}<small>{_evidence(endpoint.requests)}</small>'
        f"{_verified(endpoint)}</td>",
        f'<td class="n">{_price(endpoint.price.input_usd)} / {_price(endpoint.price.output_usd)}</td>',
        f'<td class="n">{endpoint.in_flight}</td>',
        f'<td><span class="state"><i aria-hidden="true">{mark}</i> {word}</span>{reason}</td>',
        f"<td>{_failure(endpoint.last_failure, now_s)}</td>",
    )
    return f'<tr class="{endpoint.state}">{"".join(cells)}</tr>'


def _score(endpoint: EndpointView, weights: WeightsView) -> str:
    parts = [
        (name, weights.reputation * share * getattr(endpoint, name), getattr(endpoint, name))
        for name, share in REPUTATION_PARTS
    ]
    parts.append(("price", weights.price * endpoint.price_score, endpoint.price_score))
    believed_up = 1.0 - endpoint.outage_belief
    drawn, at = [], 0.0
    for name, value, _ in parts:
        width = max(0.0, value * believed_up * BAR_WIDTH)
        drawn.append(f'<rect class="{name}" x="{at:.1f}" width="{width:.1f}" height="8"/>')
        at += width
    words = " ".join(
        f'<span class="{name}" title="{name}"><span class="said">{name} </span>{value:.2f}</span>'
        for name, _, value in parts
    )
    out = f'<span class="belief">outage {endpoint.outage_belief:.2f}</span>' if endpoint.outage_belief > 0.05 else ""
    return (
        f'<span class="score">{endpoint.score:.3f}</span>'
        f'<svg class="bar" viewBox="0 0 {BAR_WIDTH} 8" width="{BAR_WIDTH}" height="8" aria-hidden="true">'
        f'<rect class="track" width="{BAR_WIDTH}" height="8"/>{"".join(drawn)}</svg>'
        f'<small class="parts">{words} {out}</small>'
    )


def _failure(failure: FailureView | None, now_s: float) -> str:
    if failure is None:
        return '<span class="none">none seen</span>'
    at = datetime.fromtimestamp(failure.at_s, UTC).isoformat(timespec="seconds")
    ago = _ago(now_s - failure.at_s)
    return f'{escape(failure.kind.replace("_", " "))} <small><time datetime="{at}">{ago}</time></small>'


def _tier_select(view: PageView) -> str:
    if not view.tiers:
        return ""
    none = f'<option value=""{" selected" if view.tier is None else ""}>none</option>'
    return f'<label>Tier <select name="tier">{none}{_options(view.tiers, view.tier)}</select></label>\n'


def _options(values: Iterable[str], selected: str | None) -> str:
    return "".join(
        f'<option value="{escape(value)}"{" selected" if value == selected else ""}>{escape(value)}</option>'
        for value in values
    )


def _ago(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def _median(endpoint: EndpointView) -> str:
    if endpoint.ttft_p50_s is None:
        return f'<span class="none">{seconds(endpoint.ttft_s)}</span><small>assumed</small>'
    return seconds(endpoint.ttft_p50_s)


def _verified(endpoint: EndpointView) -> str:
    """Say that the market stands behind an endpoint's figures, and on what."""
    verified = endpoint.verified
    if verified is None:
        return ""
    bundles = len({bundle.root for finding in verified.validators for bundle in finding.bundles})
    count = len(verified.validators)
    evidence = (
        f"Verified in epoch {verified.epoch} by {count} validator{'' if count == 1 else 's'}: "
        f"{verified.replays} replays, {bundles} bundle{'' if bundles == 1 else 's'}. Roots: /v1/rankings"
    )
    return f'<small class="verified"><abbr title="{escape(evidence)}">✓ verified, epoch {verified.epoch}</abbr></small>'


def _evidence(requests: float) -> str:
    return "no evidence yet" if requests < 0.5 else f"of {requests:,.0f}"


def _price(usd: float) -> str:
    return f"${usd:.2f}" if usd == 0 or usd >= 0.1 else f"${usd:.3g}"


def _count(value: float) -> str:
    return f"{value:,.0f}"
