"""The requests of the page: a table of the latest, and one explained on a page of its own.

Pure functions of values to HTML, under the same rules as ``render``: everything variable is escaped, and no script or
style stands in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from providerrank.apps.admin.page.html import document, escape, money, percent, seconds
from providerrank.rules.explanation import Brief, Candidate, Explanation, ModelPart, Scores, Tried

VERDICTS: Final = {
    "answered": ("answered", "●"),
    "failed": ("failed", "✕"),
    "abandoned": ("dropped", "○"),
    "excluded": ("excluded", "✕"),
    "cooling": ("cooling", "◔"),
    "out": ("believed out", "○"),
    "peer": ("as good", "◐"),
    "behind": ("behind", "◌"),
    "not_needed": ("not needed", "◌"),
}
"""How each verdict is worded and marked; the mark differs, so that colour is never the only sign."""

FIND: Final = """<form method="get" action="/explain" aria-label="Explain a request">
<label>Request <input name="id" required maxlength="128" placeholder="x-request-id" autocomplete="off"></label>
<button>Explain</button>
</form>"""
"""Where an id is asked for."""

LINE_WIDTH: Final = 640
LINE_HEIGHT: Final = 14


def render_latest(latest: Sequence[Brief]) -> str:
    """Write the table of the latest requests; nothing where none are remembered."""
    if not latest:
        return ""
    rows = "\n".join(_brief(brief) for brief in latest)
    return f"""<section>
<h2>Latest requests</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Latest requests">
<table>
<thead><tr>
<th scope="col">At (UTC)</th>
<th scope="col">Request</th>
<th scope="col">Model</th>
<th scope="col">Answered by</th>
<th scope="col" class="n">Attempts</th>
<th scope="col" class="n">Status</th>
<th scope="col" class="n">TTFT</th>
<th scope="col" class="n">Total</th>
<th scope="col" class="n">Cost</th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div></section>"""


def _brief(brief: Brief) -> str:
    endpoint = '<span class="none">nobody</span>' if brief.endpoint is None else escape(brief.endpoint)
    cells = (
        f"<td>{_time(brief.at_s)}</td>",
        f'<th scope="row"><a href="{escape(_link(brief.request_id))}">{escape(brief.request_id)}</a>'
        f"<small> {escape(brief.api)}</small></th>",
        f"<td>{escape(brief.model) or _NONE}</td>",
        f"<td>{endpoint}</td>",
        f'<td class="n">{brief.attempts}</td>',
        f'<td class="n">{_status(brief.status)}</td>',
        f'<td class="n">{_NONE if brief.ttft_s is None else seconds(brief.ttft_s)}</td>',
        f'<td class="n">{seconds(brief.total_s)}</td>',
        f'<td class="n">{money(brief.cost_usd) if brief.cost_usd else _NONE}</td>',
    )
    return f'<tr class="{_get_class(brief.status)}">{"".join(cells)}</tr>'


def render_explanation(explanation: Explanation, version: str) -> str:
    """Write the page of one request."""
    facts: list[tuple[str, str]] = [
        ("Status", _status(explanation.status)),
        ("API", escape(explanation.api) + (", streamed" if explanation.stream else "")),
        ("Model", escape(explanation.model) or _NONE),
        ("Task", escape(explanation.task)),
    ]
    for name in ("tier", "session", "key"):
        value: str | None = getattr(explanation, name)
        if value is not None:
            facts.append((name.capitalize(), escape(value)))
    if explanation.ttft_s is not None:
        facts.append(("First content", seconds(explanation.ttft_s)))
    facts.append(("In all", seconds(explanation.total_s)))
    if explanation.endpoint is not None:
        facts.append(("Tokens", f"{explanation.input_tokens:,} + {explanation.output_tokens:,}"))
        facts.append(("Cost", money(explanation.cost_usd)))
    tiles = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    parts = "\n".join(_part(part) for part in explanation.models)
    body = f"""<main class="explained">
<h2 class="id">Request {escape(explanation.request_id)}</h2>
<p class="summary {_get_class(explanation.status)}">{escape(explanation.summary)}</p>
<dl class="figures">{tiles}</dl>
{_attempts(explanation)}
{parts}
</main>
<footer><p>{_time(explanation.at_s, date=True)} UTC. Times of attempts count from the request's beginning.</p>
<p><a href="{escape("/v1" + _link(explanation.request_id))}">The same as JSON</a></p></footer>"""
    return document(f"{explanation.request_id} · ProviderRank", _header(version), body)


def render_forgotten(message: str, version: str) -> str:
    """Write the page of a request that is not remembered."""
    body = f"""<main class="explained"><section class="missing">
<h2>Not remembered</h2>
<p>{escape(message)}</p>
<p><a href="/">To the rankings and the latest requests</a></p>
</section></main>"""
    return document("Not remembered · ProviderRank", _header(version), body)


def _header(version: str) -> str:
    return f"""<header>
<h1><a href="/"><img src="/page/icon.svg" alt="" width="26" height="26"> ProviderRank</a></h1>
<p class="version">{escape(version)}</p>
{FIND}
</header>"""


def _attempts(explanation: Explanation) -> str:
    if not explanation.attempts:
        return ""
    rows = "\n".join(
        _attempt(number, attempt, explanation.total_s) for number, attempt in enumerate(explanation.attempts, start=1)
    )
    more = (
        f'<p class="more">{explanation.attempts_left_out} more attempts in the middle are not kept.</p>'
        if explanation.attempts_left_out
        else ""
    )
    return f"""<section>
<h2>Attempts</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Attempts">
<table class="attempts">
<thead><tr>
<th scope="col" class="n">#</th>
<th scope="col">Endpoint</th>
<th scope="col" class="n">Began</th>
<th scope="col" class="n">Ended</th>
<th scope="col">Over time</th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
<p class="legend more"><span class="key connecting">connecting</span>
<span class="key waiting">waiting for content</span> <span class="key receiving">receiving</span></p>
{more}</section>"""


def _attempt(number: int, attempt: Tried, total_s: float) -> str:
    ended = _NONE if attempt.ended_s is None else seconds(attempt.ended_s)
    chosen, _, end = attempt.words.partition("; ")
    kind = attempt.outcome if attempt.outcome in {"answered", "abandoned"} else "failed"
    cells = (
        f'<td class="n rank">{number}</td>',
        f'<th scope="row">{_endpoint(attempt.endpoint)}</th>',
        f'<td class="n">{seconds(attempt.started_s)}</td>',
        f'<td class="n">{ended}</td>',
        f"<td>{_line(attempt, total_s)}<small>{escape(chosen)};</small> "
        f'<small class="said-of {kind}">{escape(end)}</small></td>',
    )
    return f"<tr>{''.join(cells)}</tr>"


def _line(attempt: Tried, total_s: float) -> str:
    """The attempt as a bar along the request's time."""
    end = total_s if attempt.ended_s is None else attempt.ended_s
    connected = min(end, end if attempt.connected_s is None else attempt.connected_s)
    content = min(end, end if attempt.first_content_s is None else attempt.first_content_s)
    scale = LINE_WIDTH / total_s if total_s > 0 else 0.0
    spans = (
        ("connecting", attempt.started_s, connected),
        ("waiting", connected, content),
        ("receiving", content, end),
    )
    drawn = "".join(
        f'<rect class="{name}" x="{begin * scale:.1f}" width="{max(0.0, (until - begin) * scale):.1f}" '
        f'height="{LINE_HEIGHT}"/>'
        for name, begin, until in spans
    )
    mark = f'<rect class="end" x="{max(0.0, end * scale - 2):.1f}" width="2" height="{LINE_HEIGHT}"/>'
    return (
        f'<svg class="line" viewBox="0 0 {LINE_WIDTH} {LINE_HEIGHT}" preserveAspectRatio="none" height="{LINE_HEIGHT}" '
        f'aria-hidden="true"><rect class="track" width="{LINE_WIDTH}" height="{LINE_HEIGHT}"/>{drawn}{mark}</svg>'
    )


def _part(part: ModelPart) -> str:
    if not part.candidates:
        return f'<section><h2>{escape(part.model)}</h2><p class="more">{escape(part.words)}</p></section>'
    rows = "\n".join(_candidate(candidate) for candidate in part.candidates)
    more = f'<p class="more">{part.left_out:,} more endpoints are not kept.</p>' if part.left_out else ""
    return f"""<section>
<h2>{escape(part.model)} <small>{escape(part.words)}</small></h2>
<div class="scroll" tabindex="0" role="region" aria-label="Candidates of {escape(part.model)}">
<table>
<thead><tr>
<th scope="col" class="n"><abbr title="Rank by score">#</abbr></th>
<th scope="col">Endpoint</th>
<th scope="col" class="n">Score</th>
<th scope="col" class="n">Reputation</th>
<th scope="col" class="n">Latency</th>
<th scope="col" class="n">Reliability</th>
<th scope="col" class="n">Uptime</th>
<th scope="col" class="n">Price</th>
<th scope="col" class="n"><abbr title="Probability that it was out">Outage</abbr></th>
<th scope="col" class="n">TTFT</th>
<th scope="col" class="n">Success</th>
<th scope="col" class="n"><abbr title="In flight, of the limit learned">Load</abbr></th>
<th scope="col">What became of it</th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
{more}</section>"""


def _candidate(candidate: Candidate) -> str:
    word, mark = VERDICTS[candidate.verdict]
    scores = "".join(f'<td class="n">{text}</td>' for text in _scores(candidate.scores))
    rank = "" if candidate.rank is None else str(candidate.rank)
    return (
        f'<tr class="verdict-{candidate.verdict}"><td class="n rank">{rank}</td>'
        f'<th scope="row">{_endpoint(candidate.endpoint)}</th>{scores}'
        f'<td><span class="state"><i aria-hidden="true">{mark}</i> {word}</span>'
        f"<small>{escape(candidate.words.removeprefix(f'{word}: '))}</small></td></tr>"
    )


def _scores(scores: Scores | None) -> tuple[str, ...]:
    if scores is None:
        return (_NONE,) * 10
    parts = (scores.reputation, scores.latency, scores.reliability, scores.uptime, scores.price, scores.outage_belief)
    return (
        f"<b>{scores.effective:.3f}</b>",
        *(f"{part:.2f}" for part in parts),
        seconds(scores.ttft_s),
        percent(scores.success),
        f"{scores.in_flight} / {scores.concurrency_limit:.0f}",
    )


_NONE = '<span class="none">–</span>'  # noqa: RUF001 - a dash for people, not a minus sign


def _endpoint(name: str) -> str:
    provider, _, rest = name.partition("/")
    return f"<b>{escape(provider)}</b><small>/{escape(rest)}</small>"


def _link(request_id: str) -> str:
    return f"/explain/{quote(request_id, safe='')}"


def _time(at_s: float, *, date: bool = False) -> str:
    at = datetime.fromtimestamp(at_s, UTC)
    shown = at.strftime("%Y-%m-%d %H:%M:%S") if date else at.strftime("%H:%M:%S")
    return f'<time datetime="{at.isoformat(timespec="milliseconds")}">{shown}</time>'


def _status(status: int) -> str:
    return '<abbr title="The client left before its answer was whole">left</abbr>' if status == 499 else str(status)


def _get_class(status: int) -> str:
    """How a request went, for its colour."""
    if status == 200:
        return "went-well"
    return "went-wrong" if status >= 500 else "was-refused"
