"""What a configuration must satisfy beyond its shape.

Every check runs, whatever the ones before it found, and each mistake is one sentence with its
remedy. ``damaged`` names the places whose value is only a stand-in for something misshapen: what a
rule says of those, or of anything inside them, is dropped, so that one slip is one message.

A *note* is allowed but probably not meant; it stops nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from providerrank.apps.config.mistakes import KeyPath, Mistake
from providerrank.apps.config.sections.checking import Checking
from providerrank.apps.config.sections.elsewhere import check_elsewhere, check_telemetry
from providerrank.apps.config.sections.endpoints import check_endpoints
from providerrank.apps.config.sections.gateway import check_buyer, check_gateway, check_timeouts
from providerrank.apps.config.sections.keys import check_keys, check_tiers
from providerrank.apps.config.sections.market import check_market
from providerrank.apps.config.sections.models import check_caps, check_fallback_loops, check_models
from providerrank.apps.config.sections.probes import check_probes
from providerrank.apps.config.tables import Config


def check(
    config: Config, environ: Mapping[str, str], damaged: Sequence[KeyPath] = ()
) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...]]:
    """Return every mistake and every note; neither has its line yet."""
    it = Checking(config, environ, damaged)
    check_gateway(it)
    check_buyer(it)
    check_timeouts(it)
    check_endpoints(it)
    check_models(it)
    check_fallback_loops(it)
    check_caps(it)
    check_tiers(it)
    check_keys(it)
    check_probes(it)
    check_elsewhere(it)
    check_telemetry(it)
    check_market(it)
    return tuple(it.mistakes), tuple(it.notes)
