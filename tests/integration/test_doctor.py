"""`doctor` against simulated endpoints over real sockets: what it says of each kind of trouble."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from providerrank.apps import config
from providerrank.apps.doctor import Check, Diagnosis, examine
from providerrank.sim.certificates import make_certificate
from providerrank.sim.faults import Fault
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec
from tests.configs import write_endpoint

KEY = "sk-7f3a-upstream"


async def look(text: str, tls: ssl.SSLContext | None = None, timeout_s: float = 5.0) -> list[Diagnosis]:
    loaded = config.parse(text, Path("providerrank.toml"), {"KEY": KEY})
    found = await examine(loaded, timeout_s, tls)
    assert KEY not in repr(found)
    return found


async def look_at(spec: EndpointSpec, extra: str = "", script: list[Fault | None] | None = None) -> dict[str, Check]:
    async with SimProviders([spec]) as sims:
        sims[spec.name].script(script or [])
        [diagnosis] = await look(write_endpoint(spec.name, extra, url=sims[spec.name].url))
    checks = {check.name: check for check in diagnosis.checks}
    assert diagnosis.usable == all(check.status != "failed" for check in checks.values())
    return checks


async def test_a_healthy_endpoint_passes_every_check() -> None:
    checks = await look_at(EndpointSpec(name="a", key=KEY), 'key = "env:KEY"')

    assert {name: check.status for name, check in checks.items()} == dict.fromkeys(
        ("reach", "key", "model", "chat", "usage", "stream", "tools", "json_schema"), "ok"
    )


async def test_a_refused_key_names_its_variable() -> None:
    checks = await look_at(EndpointSpec(name="a", key="another"), 'key = "env:KEY"')

    assert checks["key"].status == "failed"
    assert checks["key"].says.startswith("refuses what KEY holds (401): is it this provider's, and still valid?")
    assert checks["stream"].status == "skipped"


async def test_a_missing_key_says_how_to_give_one() -> None:
    checks = await look_at(EndpointSpec(name="a", key="another"))

    assert checks["key"].says.startswith('wants a key (401): add key = "env:NAME" to this endpoint')


async def test_a_wrong_model_name_comes_with_the_nearest_right_one() -> None:
    checks = await look_at(EndpointSpec(name="a", model="meta/Llama-3.3-70B"), 'upstream_model = "llama-3.3-70b-x"')

    assert checks["model"].status == "failed"
    assert checks["model"].says.startswith(
        'does not know "llama-3.3-70b-x" (404): write upstream_model = "meta/Llama-3.3-70B"'
    )


async def test_a_model_name_unlike_any_other_gets_the_list() -> None:
    checks = await look_at(EndpointSpec(name="a", model="qwen"))

    assert "it lists qwen" in checks["model"].says


async def test_what_a_feature_check_misses_is_a_warning_with_the_line_to_write() -> None:
    checks = await look_at(EndpointSpec(name="a", tools=False, lacks=("response_format",)))

    assert checks["tools"].status == "warning"
    assert checks["tools"].says == (
        "answers without the call it was told to make: "
        'add features = ["embeddings", "json_schema", "logprobs", "vision"]'
    )
    assert checks["json_schema"].status == "warning"
    assert checks["json_schema"].says.startswith(
        'refuses it (400): add features = ["embeddings", "logprobs", "tools", "vision"]'
    )


async def test_a_feature_that_is_claimed_and_missing_is_to_be_removed() -> None:
    checks = await look_at(EndpointSpec(name="a", json_schema=False), 'features = ["json_schema"]')

    assert checks["tools"].status == "skipped"
    assert checks["json_schema"].says == (
        'does not keep to the schema it was given: remove "json_schema" from its features'
    )


async def test_a_rate_limit_is_no_verdict() -> None:
    checks = await look_at(EndpointSpec(name="a"), script=[Fault.RATE_LIMIT])

    assert checks["chat"].status == "warning"
    assert "rate-limited just now (429)" in checks["chat"].says


async def test_trouble_on_its_side_is_told_as_such() -> None:
    checks = await look_at(EndpointSpec(name="a"), script=[Fault.STATUS_500])

    assert checks["chat"].status == "failed"
    assert checks["chat"].says.startswith("answers 500, trouble on its side")


async def test_an_empty_account_is_told_as_such() -> None:
    checks = await look_at(EndpointSpec(name="a"), 'key = "env:KEY"', [Fault.STATUS_402])

    assert checks["key"].says.startswith("is accepted, but its account has no balance (402): top it up")


async def test_an_answer_that_is_no_completion_doubts_the_address() -> None:
    checks = await look_at(EndpointSpec(name="a"), script=[Fault.HTML_BODY])

    assert checks["chat"].says == "answers 200 without a chat completion: is base_url the one of an OpenAI API?"


async def test_a_stream_that_is_cut_is_a_failure() -> None:
    checks = await look_at(EndpointSpec(name="a"), script=[None, Fault.NO_FINISH])

    assert checks["stream"].status == "failed"


async def test_a_stream_without_its_end_is_a_warning() -> None:
    checks = await look_at(EndpointSpec(name="a"), script=[None, Fault.NO_DONE])

    assert checks["stream"].status == "warning"
    assert "without [DONE]" in checks["stream"].says


async def test_a_port_nobody_listens_on() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        [found] = await look(write_endpoint("a", url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))

    assert not found.usable
    assert found.checks[0].says == "the connection is refused: is it running, and is the port in base_url right?"
    assert {check.status for check in found.checks[1:]} == {"skipped"}


async def test_a_name_nobody_has() -> None:
    [found] = await look(write_endpoint("a", url="http://nobody.invalid/v1"))

    assert found.checks[0].says == ("the name nobody.invalid is not known: check base_url, or this machine's DNS")


async def test_certificates_are_verified() -> None:
    certificate = make_certificate("localhost")
    async with SimProviders([EndpointSpec(name="a", tls=True)], tls=certificate.server) as sims:
        url = sims["a"].url.replace("127.0.0.1", "localhost")
        [good] = await look(write_endpoint("a", url=url), certificate.client)
        [wrong_name] = await look(write_endpoint("a", url=url.replace("localhost", "127.0.0.1")), certificate.client)
        [unknown] = await look(write_endpoint("a", url=url), ssl.create_default_context())

    assert good.usable
    assert wrong_name.checks[0].says.startswith("its certificate is not accepted (IP address mismatch")
    assert unknown.checks[0].says.startswith("its certificate is not accepted (")


async def test_https_where_http_is_spoken() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims:
        [found] = await look(write_endpoint("a", url=sims["a"].url.replace("http:", "https:")))

    assert found.checks[0].says.startswith("it does not speak TLS on this port")


async def test_silence_ends_at_the_time_limit() -> None:
    async with SimProviders([EndpointSpec(name="a")]) as sims:
        sims["a"].script([Fault.HANG_BEFORE_HEAD])
        [found] = await look(write_endpoint("a", url=sims["a"].url), timeout_s=0.3)

    assert found.checks[3].name == "chat"
    assert found.checks[3].says.startswith("gave no complete answer within 0.3 s")


async def test_endpoints_are_told_in_the_order_of_the_file() -> None:
    names = [f"e{number}" for number in range(12)]
    async with SimProviders([EndpointSpec(name=name) for name in names]) as sims:
        found = await look("".join(write_endpoint(name, url=sims[name].url) for name in names))

    assert [one.endpoint for one in found] == [f"{name}/llama" for name in names]
    assert all(one.usable for one in found)
