"""`providerrank init`."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from providerrank.apps import config as configuration
from providerrank.apps.cli.options import ConfigOption
from providerrank.apps.failures import DONE, USAGE
from providerrank.apps.init import Addresses, Draft, FileIsThere, build_text, write
from providerrank.apps.init_questions import Ask, ask_for_endpoints

ask: Ask = input
"""How a question is put; tests put theirs here."""


def init(  # noqa: PLR0913 - one option for each thing a file needs
    *,
    provider: str | None = None,
    model: str | None = None,
    base_url: str | None = None,
    upstream_model: str | None = None,
    key_env: str | None = None,
    input_price: float | None = None,
    output_price: float | None = None,
    listen: str = Addresses().listen,
    admin: str = Addresses().admin,
    client_key_env: str | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    config: ConfigOption = None,
) -> int:
    """Write a commented configuration with a first endpoint.

    Asks for what the options leave open, if there is somebody to ask. A configuration that is there
    is not touched without --force. No key is asked for or written, only the name of the variable that holds it.

    For example:

        $ providerrank init

        $ providerrank init --provider local --model qwen --base-url http://127.0.0.1:9000/v1 --key-env LOCAL_KEY
          --input-price 0.1 --output-price 0.4

    Parameters
    ----------
    provider
        Who runs the endpoint, in a word.
    model
        The name clients will ask for.
    base_url
        Where its API is: what comes before /chat/completions.
    upstream_model
        The provider's own name for the model, where it differs.
    key_env
        The environment variable that holds the provider's key.
    input_price
        USD per million prompt tokens.
    output_price
        USD per million completion tokens.
    listen
        Address for clients.
    admin
        Address for the page and metrics.
    client_key_env
        The environment variable that holds the key clients must use; without it only this machine may call.
    force
        Replace a configuration that is there.
    """
    path = configuration.find_path(config)
    if path.exists() and not force:
        raise FileIsThere(path)
    draft = Draft(provider, model, base_url, input_price, output_price, upstream_model, key_env)
    endpoints = [first] if (first := draft.complete()) is not None else []
    if not endpoints:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            options = ", ".join("--" + name.replace("_", "-") for name in draft.get_missing())
            print(f"providerrank init: nobody is here to ask, so {options} must be given.", file=sys.stderr)
            return USAGE
        endpoints = ask_for_endpoints(draft, ask)
    write(path, build_text(tuple(endpoints), Addresses(listen, admin, client_key_env)), force=force)
    print(f"{path} is written. Next:")
    for name in dict.fromkeys([*(one.key_variable for one in endpoints), client_key_env]):
        if name:
            print(f"  export {name}=…")
    print(f"  providerrank doctor -c {path}\n  providerrank serve -c {path}")
    return DONE
