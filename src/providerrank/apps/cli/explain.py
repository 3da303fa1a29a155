"""`providerrank explain`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import msgspec
from cyclopts import Parameter

from providerrank.apps.cli.options import ConfigOption, JsonOption, load, print_json
from providerrank.apps.failures import DONE, CommandFailed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from providerrank.apps.config import Loaded
    from providerrank.rules.explanation import Candidate, Explanation, ModelPart

TIMEOUT_S = 10.0
WIDE = 200
"""Columns where the output is not shown on a terminal."""


def explain(
    request_id: Annotated[str, Parameter(help="A request's id: the x-request-id header of its answer.")],
    /,
    *,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show what the running gateway did with one request, and why.

    Asks the gateway's admin port for every candidate with its scores, why it was excluded or passed over, and each
    attempt with its times. The latest requests are remembered ([gateway] explain says how many).

    For example:

        $ providerrank explain req-1f0c-2a
    """
    explanation = fetch(load(config), request_id)
    if as_json:
        print_json(explanation)
        return DONE
    from rich.console import Console

    console = Console()
    show(explanation, console if console.is_terminal else Console(width=WIDE))
    return DONE


def fetch(loaded: Loaded, request_id: str) -> Explanation:
    """Ask the gateway of a configuration. Raises ``CommandFailed``."""
    import httpx

    from providerrank.apps import compose
    from providerrank.apps.config.addresses import parse_address
    from providerrank.rules.explanation import Explanation

    host, port = parse_address(loaded.config.gateway.admin)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what it means to whoever connects
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    keys = compose.get_client_keys(loaded)
    headers = {"Authorization": f"Bearer {keys[0]}"} if keys else {}
    try:
        answer = httpx.get(
            f"{address}/v1/explain/{quote(request_id, safe='')}", headers=headers, timeout=TIMEOUT_S, trust_env=False
        )
    except httpx.HTTPError as error:
        raise CommandFailed(
            f"no gateway answers at {address} ({type(error).__name__}): start it with `providerrank serve`, "
            "or name its configuration with -c."
        ) from None
    if answer.status_code != 200:
        raise CommandFailed(_read_error(answer.content) or f"{address} answered {answer.status_code}.")
    try:
        return msgspec.json.decode(answer.content, type=Explanation)
    except msgspec.MsgspecError:
        raise CommandFailed(f"what answers at {address} is not a gateway of this version.") from None


def _read_error(body: bytes) -> str | None:
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return None
    return message if isinstance(message, str) else None


def show(explanation: Explanation, console: Console) -> None:
    """Print an explanation for a person."""
    facts = [explanation.api, f"model {explanation.model or 'unknown'}", f"task {explanation.task}"]
    for name in ("tier", "session", "key"):
        value: str | None = getattr(explanation, name)
        if value is not None:
            facts.append(f"{name} {value}")
    if explanation.stream:
        facts.append("streamed")
    at = datetime.fromtimestamp(explanation.at_s, UTC).isoformat(sep=" ", timespec="milliseconds")

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{explanation.request_id}  {at}  {', '.join(facts)}")
    say(explanation.summary)
    if explanation.endpoint is not None:
        first = "" if explanation.ttft_s is None else f"first content after {explanation.ttft_s:.3f} s, "
        tokens = f"{explanation.input_tokens} + {explanation.output_tokens} tokens"
        say(f"{first}{tokens}, ${explanation.cost_usd:.6f}")
    for number, attempt in enumerate(explanation.attempts, start=1):
        say(f"  {number}. at {attempt.started_s:.3f} s  {attempt.endpoint}: {attempt.words}")
    if explanation.attempts_left_out:
        say(f"  (and {explanation.attempts_left_out} more attempts in the middle, not kept)")
    for part in explanation.models:
        say("")
        say(f"{part.model}: {part.words}")
        if part.candidates:
            console.print(_render(part))
        if part.left_out:
            say(f"and {part.left_out} more endpoints of it, not kept")
    sys.stdout.flush()


def _render(part: ModelPart) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("endpoint", overflow="fold")
    for name in ("score", "reputation", "latency", "reliability", "uptime", "price", "outage", "TTFT"):
        table.add_column(name, justify="right")
    table.add_column("what became of it", overflow="fold")
    for candidate in part.candidates:
        table.add_row(*_get_cells(candidate))
    return table


def _get_cells(candidate: Candidate) -> tuple[str | Text, ...]:
    from rich.text import Text

    scores = candidate.scores
    figures: tuple[str, ...] = ("",) * 8
    if scores is not None:
        parts = (scores.effective, scores.reputation, scores.latency, scores.reliability, scores.uptime, scores.price)
        figures = (*(f"{part:.2f}" for part in (*parts, scores.outage_belief)), f"{scores.ttft_s:.2f} s")
    rank = "-" if candidate.rank is None else str(candidate.rank)
    # (Text: square brackets in it are not markup.)
    return rank, candidate.endpoint, *figures, Text(candidate.words)
