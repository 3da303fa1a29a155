"""What `providerrank init` asks on a terminal; each answer is checked before the next question."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from providerrank.apps.config.addresses import find_url_problem
from providerrank.apps.config.sections.checking import VARIABLE
from providerrank.apps.config.sections.endpoints import ENDPOINT_ID
from providerrank.apps.failures import CommandFailed
from providerrank.apps.init import Answers, Draft

T = TypeVar("T")
Ask = Callable[[str], str]


class NotAnAnswer(Exception):
    """What was typed cannot be used; the message says why."""


def ask_for_endpoints(first: Draft, ask: Ask = input) -> list[Answers]:
    """Ask for endpoints until there are enough; ``first`` holds the answers the command line gave."""
    endpoints = [_ask_for_endpoint(first, ask)]
    while _ask(ask, "Another endpoint of it, to fall back on? [y/N] ", _read_yes):
        endpoints.append(_ask_for_endpoint(Draft(model=endpoints[0].model), ask))
    return endpoints


def _ask_for_endpoint(draft: Draft, ask: Ask) -> Answers:
    def get(given: T | None, question: str, read: Callable[[str], T]) -> T:
        return _ask(ask, question, read) if given is None else given

    model = get(draft.model, "Model, as clients will ask for it (llama-3.3-70b): ", _read_name)
    return Answers(
        provider=get(draft.provider, "Provider, in a word (groq): ", _read_provider),
        model=model,
        base_url=get(draft.base_url, "Base URL, what comes before /chat/completions: ", _read_url),
        upstream_model=get(draft.upstream_model, f"The provider's own name for the model [{model}]: ", str) or None,
        key_variable=get(draft.key_variable, "Environment variable with its key [none]: ", _read_variable) or None,
        input_price=get(draft.input_price, "USD per million prompt tokens: ", _read_price),
        output_price=get(draft.output_price, "USD per million completion tokens: ", _read_price),
    )


def _ask(ask: Ask, question: str, read: Callable[[str], T]) -> T:
    while True:
        try:
            return read(ask(question).strip())
        except NotAnAnswer as problem:
            # The question comes again with what was wrong before it.
            question = f"  {problem}\n{question.rpartition(chr(10))[2]}"
        except EOFError:
            raise CommandFailed("nothing was written, since not every question was answered.") from None


def _read_name(text: str) -> str:
    if not text:
        raise NotAnAnswer("A name is needed.")
    return text


def _read_provider(text: str) -> str:
    if not ENDPOINT_ID.fullmatch(f"{text}/model"):
        raise NotAnAnswer("Letters, digits and . _ - only, please.")
    return text


def _read_url(text: str) -> str:
    problem = find_url_problem(text)
    if problem is not None:
        raise NotAnAnswer(f"It {problem}")
    return text


def _read_variable(text: str) -> str:
    if text and not VARIABLE.fullmatch(text):
        raise NotAnAnswer("The name of the variable, please, not the key: letters, digits and _ only.")
    return text


def _read_price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = -1.0
    if not 0 <= price < float("inf"):
        raise NotAnAnswer("A number from 0 up, please, like 0.59.")
    return price


def _read_yes(text: str) -> bool:
    return text.lower() in {"y", "yes"}
