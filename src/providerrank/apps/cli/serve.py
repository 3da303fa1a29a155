"""`providerrank serve`."""

from __future__ import annotations

from providerrank.apps.cli.options import ConfigOption


def serve(*, config: ConfigOption = None) -> int:
    """Run the gateway until it is told to stop (SIGTERM or Ctrl-C).

    Clients speak OpenAI's API to the data port; the admin port has a page, metrics and rankings. What is
    learned about endpoints is kept in a file beside the configuration and survives a restart.

    For example:

        $ providerrank serve -c providerrank.toml
    """
    from providerrank.apps.start import start

    return start(config)
