"""What is said of each mistake in a configuration file, and of what is probably not meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from providerrank.apps import config
from providerrank.rules.cells import FEATURES
from tests.unit.apps.config.files import ENVIRON, FILE, KEY, MINIMAL, accept, refuse

ENDPOINT = MINIMAL
OTHER = MINIMAL.replace("alpha/llama", "beta/qwen").replace('"llama"', '"qwen"')

MISTAKES = [
    # (what, file, the one line expected, without the file's name)
    (
        "no endpoints",
        "[gateway]\n",
        ' endpoints is empty, so there is nowhere to route to: add a table under the header "[[endpoints]]".',
    ),
    (
        "unknown key",
        MINIMAL + "contxt_window = 5\n",
        "7: endpoints[0].contxt_window is not a known key: did you mean `context_window`? "
        "The keys here are id, model, base_url, price, upstream_model, key, context_window, features, dialect, "
        "prefill.",
    ),
    (
        "key without a name",
        MINIMAL + '[[keys]]\nkey = "env:TEAM_KEY"\n',
        "7: keys[0].name is missing: add a name, for messages, metrics and the account of what it used.",
    ),
    (
        "key without a key",
        MINIMAL + '[[keys]]\nname = "team"\n',
        '7: keys[0].key is missing: add key = "env:NAME", with the variable that holds it.',
    ),
    (
        "keys as a list of secrets",
        'keys = ["a"]\n' + MINIMAL,
        '1: keys[0] is text where a table belongs: give each key a table under the header "[[keys]]".',
    ),
    (
        "keys as a secret",
        'keys = "a"\n' + MINIMAL,
        '1: keys is text where a list belongs: give each key a table under the header "[[keys]]".',
    ),
    (
        "gateway.keys as a secret",
        '[gateway]\nkeys = "a"\n' + MINIMAL,
        '2: gateway.keys is text where a list belongs: write keys = ["env:NAME"].',
    ),
    (
        "a key's name twice",
        KEY + '[[keys]]\nname = "team"\nkey = "env:OTHER_KEY"\n',
        '11: keys[1].name is "team", the name of keys[0] already: rename one.',
    ),
    (
        "a key twice",
        KEY + '[[keys]]\nname = "other"\nkey = "env:TEAM_KEY"\n',
        "12: keys[1].key is the key of keys[0] too: whose request it is could not be told.",
    ),
    (
        "a key with limits and without",
        KEY + '[gateway]\nkeys = ["env:TEAM_KEY"]\n',
        "9: keys[0].key is the key of gateway.keys[0] too: whose request it is could not be told.",
    ),
    (
        "a key's variable that is not set",
        MINIMAL + '[[keys]]\nname = "team"\nkey = "env:NOT_THERE"\n',
        "9: keys[0].key needs the environment variable NOT_THERE, which is not set: "
        "export NOT_THERE=… and start again.",
    ),
    (
        "a key for no model",
        KEY + "models = []\n",
        "10: keys[0].models is empty, so nothing may be asked for: name models, or leave it out.",
    ),
    (
        "a key for an unknown model",
        KEY + 'models = ["lama"]\n',
        '10: keys[0].models[0] is "lama", no model or alias here: the nearest is "llama", or remove it.',
    ),
    (
        "a key for an unknown tier",
        KEY + 'tiers = ["high"]\n',
        '10: keys[0].tiers[0] is "high", no tier here: there is none to name, or remove it.',
    ),
    (
        "a key without requests",
        KEY + "requests_per_minute = 0\n",
        "10: keys[0].requests_per_minute is 0, and it is from 1 to 1000000000000: write a number in that range.",
    ),
    (
        "a key with more tokens than can be counted",
        KEY + "tokens_per_minute = 10_000_000_000_000\n",
        "10: keys[0].tokens_per_minute is 1e+13, and it is from 1 to 1000000000000: write a number in that range.",
    ),
    (
        "a key that may spend nothing",
        KEY + "spend_per_day = 0\n",
        "10: keys[0].spend_per_day is 0, and a budget is above 0 and at most a billion: write it in USD.",
    ),
    (
        "a key's cap of nothing",
        KEY + "price_cap = { input = 0, output = 1 }\n",
        "10: keys[0].price_cap.input is 0, and a cap is above 0: write it in USD per million tokens.",
    ),
    (
        "a key's unknown priority",
        KEY + 'priority = "urgent"\n',
        '10: keys[0].priority is "urgent" where "best-effort" or "high" or "normal" belongs: write one of these.',
    ),
    (
        "an unknown way to go on",
        MINIMAL + 'prefill = "sglang"\n',
        '7: endpoints[0].prefill is "sglang": write one of vllm; an endpoint that needs nothing beside the message has '
        'the feature "prefill" instead.',
    ),
    (
        "probes without a pause",
        "[probes]\ninterval = 0.5\n" + MINIMAL,
        "2: probes.interval is 0.5, and an interval is from 1 second to a day: write it in seconds.",
    ),
    (
        "probes for nothing",
        "[probes]\npaid = true\nspend_per_day = 0\n" + MINIMAL,
        "3: probes.spend_per_day is 0, and a budget is above 0 and at most a billion: write it in USD.",
    ),
    (
        "probes that are essays",
        "[probes]\nmax_tokens = 4_000\n" + MINIMAL,
        "2: probes.max_tokens is 4000, and it is from 1 to 1000: write a number in that range.",
    ),
    (
        "probes of nobody",
        '[probes]\nonly = ["alpha/lama"]\n' + MINIMAL,
        '2: probes.only[0] is "alpha/lama", which is no endpoint: the nearest is "alpha/llama", or remove it.',
    ),
    (
        "unknown table",
        "[timeout]\nidle = 3\n" + MINIMAL,
        "1: timeout is not a known key: did you mean `timeouts`? "
        "The keys here are gateway, buyer, timeouts, endpoints, models, tiers, keys, probes, registry, engines, "
        "telemetry, chain, market, miner, validator.",
    ),
    (
        "a key as other programs call it",
        MINIMAL + 'api_key = "env:CLIENT_KEY"\n',
        "7: endpoints[0].api_key is not a known key: did you mean `key`? "
        "The keys here are id, model, base_url, price, upstream_model, key, context_window, features, dialect, "
        "prefill.",
    ),
    (
        "number in quotes",
        MINIMAL.replace("0.5", '"0.5"'),
        '6: endpoints[0].price.input is "0.5" where a number belongs: write 0.5 without quotes.',
    ),
    (
        "text where a number belongs",
        MINIMAL.replace("0.5", '"cheap"'),
        '6: endpoints[0].price.input is "cheap" where a number belongs: write a number, like 0.5.',
    ),
    (
        "number where text belongs",
        MINIMAL.replace('"llama"', "3"),
        "4: endpoints[0].model is 3 where text belongs: put it in quotes.",
    ),
    (
        "text where true or false belongs",
        MINIMAL + '[[models]]\nid = "llama"\npin_only = "yes"\n',
        '9: models[0].pin_only is "yes" where true or false belongs: write true or false.',
    ),
    (
        "fraction where a whole number belongs",
        MINIMAL + "context_window = 1.5\n",
        "7: endpoints[0].context_window is 1.5 where a whole number belongs: write a whole number.",
    ),
    (
        "true where a number belongs",
        MINIMAL.replace("0.5", "true"),
        "6: endpoints[0].price.input is true where a number belongs: write a number, like 0.5.",
    ),
    (
        "one text where a list belongs",
        MINIMAL + 'features = "tools"\n',
        '7: endpoints[0].features is text where a list belongs: write features = ["…"].',
    ),
    (
        "one key where a list belongs",
        '[gateway]\nkeys = "env:CLIENT_KEY"\n' + MINIMAL,
        '2: gateway.keys is text where a list belongs: write keys = ["env:NAME"].',
    ),
    (
        "one number for a price",
        MINIMAL.replace("{ input = 0.5, output = 1.5 }", "0.5"),
        "6: endpoints[0].price is a number where a table belongs: "
        "write price = { input = 0.90, output = 0.90 }, in USD per million tokens.",
    ),
    (
        "a single table where there may be several",
        MINIMAL.replace("[[endpoints]]", "[endpoints]"),
        '2: endpoints is a table where a list belongs: give each endpoint a table under the header "[[endpoints]]".',
    ),
    (
        "a value where a table belongs",
        'gateway = "127.0.0.1:80"\n' + MINIMAL,
        '1: gateway is text where a table belongs: put its keys under the header "[gateway]".',
    ),
    (
        "a date where a secret belongs",
        MINIMAL + "key = 2026-01-01\n",
        '7: endpoints[0].key is a date or time where text belongs: write "env:NAME", with the variable that holds it.',
    ),
    (
        "a clock that is neither number nor auto",
        '[timeouts]\nfirst_token = "fast"\n' + MINIMAL,
        '2: timeouts.first_token is "fast" where a number or "auto" belongs: write one of these.',
    ),
    (
        "missing key",
        MINIMAL.replace('id = "alpha/llama"\n', ""),
        '2: endpoints[0].id is missing: add id = "provider/model".',
    ),
    (
        "missing half of a price",
        MINIMAL.replace(", output = 1.5", ""),
        "6: endpoints[0].price.output is missing: add it, in USD per million tokens.",
    ),
    (
        "missing secret",
        MINIMAL + 'key = "env:NOT_SET"\n',
        "7: endpoints[0].key needs the environment variable NOT_SET, which is not set: "
        "export NOT_SET=… and start again.",
    ),
    (
        "empty secret",
        MINIMAL + 'key = "env:EMPTY"\n',
        "7: endpoints[0].key needs the environment variable EMPTY, which is empty: export EMPTY=… and start again.",
    ),
    (
        "nothing where a secret belongs",
        MINIMAL + 'key = ""\n',
        '7: endpoints[0].key is empty: write "env:NAME", with the variable that holds it, or remove the key.',
    ),
    (
        "secret with a line break",
        MINIMAL + 'key = "env:BROKEN"\n',
        "7: endpoints[0].key cannot be sent as a key: "
        "what the environment variable BROKEN holds has a blank, a line break or a letter outside ASCII.",
    ),
    (
        "no name after env:",
        MINIMAL + 'key = "env:a-b"\n',
        '7: endpoints[0].key names no variable after "env:": write letters, digits and _ there, as in "env:MY_KEY".',
    ),
    (
        "duplicate id",
        MINIMAL + MINIMAL.replace("alpha", "Alpha"),
        '9: endpoints[1].id is "Alpha/llama", the id of endpoints[0] already: '
        "tell them apart with @region or :quantization, or remove one.",
    ),
    (
        "an id without a provider",
        MINIMAL.replace("alpha/llama", "llama"),
        '3: endpoints[0].id is "llama": an id is provider/model, then @region and :quantization if need be, '
        "of letters, digits and . _ + / -, without blanks.",
    ),
    (
        "an id that could break a header",
        MINIMAL.replace("alpha/llama", r"alpha/llama\r\nx: y"),
        '3: endpoints[0].id is "alpha/llama��x: y": an id is provider/model, then @region and :quantization '
        "if need be, of letters, digits and . _ + / -, without blanks.",
    ),
    (
        "price below zero",
        MINIMAL.replace("0.5", "-0.5"),
        "6: endpoints[0].price.input is -0.5, and a price is 0 or more: write it in USD per million tokens.",
    ),
    (
        "a price that is no number",
        MINIMAL.replace("0.5", "nan"),
        "6: endpoints[0].price.input is nan, and a price is 0 or more: write it in USD per million tokens.",
    ),
    (
        "cap below every price of a model",
        "[buyer]\nprice_cap = { input = 0.4, output = 1.0 }\n" + MINIMAL,
        '2: buyer.price_cap is { input = 0.4, output = 1 }, below every price of "llama": '
        "raise it to { input = 0.5, output = 1.5 } or more for its cheapest endpoint, alpha/llama.",
    ),
    (
        "a cap of nothing",
        "[buyer]\nprice_cap = { input = 0, output = 9 }\n" + MINIMAL,
        "2: buyer.price_cap.input is 0, and a cap is above 0: write it in USD per million tokens.",
    ),
    (
        "pin to an unknown endpoint",
        MINIMAL + '[[models]]\nid = "llama"\npin = ["alpha/lama"]\n',
        '9: models[0].pin[0] is "alpha/lama", which is no endpoint: the nearest is "alpha/llama".',
    ),
    (
        "pin to an endpoint of another model",
        MINIMAL + OTHER + '[[models]]\nid = "llama"\npin = ["beta/qwen"]\n',
        '15: models[0].pin[0] is "beta/qwen", an endpoint of another model: '
        "the known ones are alpha/llama, or remove it.",
    ),
    (
        "pinned twice",
        MINIMAL + '[[models]]\nid = "llama"\npin = ["alpha/llama",\n  "alpha/llama"]\n',
        '10: models[0].pin[1] is "alpha/llama" for the second time: keep the first.',
    ),
    (
        "pinned only, to nothing",
        MINIMAL + '[[models]]\nid = "llama"\npin_only = true\n',
        "9: models[0].pin_only is true with no pin, so nothing may be tried: name endpoints in pin.",
    ),
    (
        "fallback-model loop",
        MINIMAL + OTHER + '[[models]]\nid = "llama"\nfallback_models = ["qwen"]\n'
        '[[models]]\nid = "qwen"\nfallback_models = ["llama"]\n',
        "15: models[0].fallback_models[0] closes a loop of fallback models (llama -> qwen -> llama): "
        "remove one of these steps.",
    ),
    (
        "a model that falls back on itself, by its alias",
        MINIMAL + '[[models]]\nid = "llama"\naliases = ["default"]\nfallback_models = ["default"]\n',
        "10: models[0].fallback_models[0] closes a loop of fallback models (llama -> llama): "
        "remove one of these steps.",
    ),
    (
        "unknown fallback model",
        MINIMAL + OTHER + '[[models]]\nid = "llama"\nfallback_models = ["qwenn"]\n',
        '15: models[0].fallback_models[0] is "qwenn", which no endpoint serves: the nearest is "qwen", or remove it.',
    ),
    (
        "fallback model where there is no other",
        MINIMAL + '[[models]]\nid = "llama"\naliases = ["default"]\nfallback_models = ["qwen"]\n',
        '10: models[0].fallback_models[0] is "qwen", which no endpoint serves: add an endpoint with it, or remove it.',
    ),
    (
        "fallback model named twice",
        MINIMAL + OTHER + '[[models]]\nid = "llama"\nfallback_models = ["qwen", "qwen"]\n',
        '15: models[0].fallback_models[1] is "qwen" for the second time: keep the first.',
    ),
    (
        "a model nobody serves",
        MINIMAL + '[[models]]\nid = "lama"\n',
        '8: models[0].id is "lama", which no endpoint serves: the nearest is "llama", '
        "or add an endpoint with this model.",
    ),
    (
        "a model named twice",
        MINIMAL + '[[models]]\nid = "llama"\n[[models]]\nid = "llama"\n',
        '10: models[1].id is "llama", the id of models[0] already: keep one of them.',
    ),
    (
        "alias that is a model",
        MINIMAL + OTHER + '[[models]]\nid = "llama"\naliases = ["qwen"]\n',
        '15: models[0].aliases[0] is "qwen", already the name of the model "qwen": choose another or remove it.',
    ),
    (
        "alias given twice",
        MINIMAL + OTHER + '[[models]]\nid = "llama"\naliases = ["x"]\n[[models]]\nid = "qwen"\naliases = ["x"]\n',
        '18: models[1].aliases[0] is "x", already the name of an alias of "llama": choose another or remove it.',
    ),
    (
        "an empty name",
        MINIMAL + 'upstream_model = " "\n',
        '7: endpoints[0].upstream_model is " ": a name is at least one visible character, with no blanks around it.',
    ),
    (
        "bad URL",
        MINIMAL.replace("https://api.example.com/v1", "api.example.com/v1"),
        '5: endpoints[0].base_url is "api.example.com/v1", not an address of an API: '
        'write http:// or https:// and a host, as in "https://api.example.com/v1".',
    ),
    (
        "URL with a bad port",
        MINIMAL.replace("https://api.example.com/v1", "https://api.example.com:x/v1"),
        "5: endpoints[0].base_url is not an address (its host or port makes no sense): "
        'write http:// or https:// and a host, as in "https://api.example.com/v1".',
    ),
    (
        "URL with port 0",
        MINIMAL.replace("https://api.example.com/v1", "http://api.example.com:0"),
        '5: endpoints[0].base_url is "http://api.example.com:0", and no server has port 0: '
        'write the port it listens on, as in "https://api.example.com/v1".',
    ),
    (
        "URL with a password",
        MINIMAL.replace("https://", "https://me:secret@"),
        "5: endpoints[0].base_url has a user name or password in it: leave that out, keys go in key, "
        'as in "https://api.example.com/v1".',
    ),
    (
        "URL with a query",
        MINIMAL.replace("/v1", "/v1?key=secret"),
        "5: endpoints[0].base_url has something after ? or # in it: leave that out, keys go in key, "
        'as in "https://api.example.com/v1".',
    ),
    (
        "URL with a blank",
        MINIMAL.replace("/v1", "/v 1"),
        "5: endpoints[0].base_url has a blank, a line break or a letter outside ASCII in it: "
        'write a plain address, as in "https://api.example.com/v1".',
    ),
    (
        "URL of one operation",
        MINIMAL.replace("/v1", "/v1/chat/completions"),
        '5: endpoints[0].base_url is "https://api.example.com/v1/chat/completions", the address of one operation: '
        "leave out what follows /v1, the gateway adds it.",
    ),
    (
        "bad listen address",
        '[gateway]\nlisten = "8080"\n' + MINIMAL,
        '2: gateway.listen is "8080": an address is host:port, as in "127.0.0.1:8080".',
    ),
    (
        "port out of range",
        '[gateway]\nlisten = "127.0.0.1:70000"\n' + MINIMAL,
        '2: gateway.listen is "127.0.0.1:70000": a port is a number from 0 to 65535, as in "127.0.0.1:8080".',
    ),
    (
        "IPv6 without brackets",
        '[gateway]\nlisten = "::1:8080"\n' + MINIMAL,
        '2: gateway.listen is "::1:8080": an IPv6 address stands in brackets, as in "127.0.0.1:8080".',
    ),
    (
        "a host that is none",
        '[gateway]\nlisten = "-x-:8080"\n' + MINIMAL,
        '2: gateway.listen is "-x-:8080": a host is a name or an IP address, as in "127.0.0.1:8080".',
    ),
    (
        "same port twice",
        '[gateway]\nlisten = "0.0.0.0:8080"\nadmin = "127.0.0.1:8080"\nkeys = ["env:CLIENT_KEY"]\n' + MINIMAL,
        '3: gateway.admin is "127.0.0.1:8080", the port gateway.listen already takes: '
        "give the admin port another number.",
    ),
    (
        "an admin port for everybody",
        '[gateway]\nadmin = "0.0.0.0:8081"\n' + MINIMAL,
        '2: gateway.admin is "0.0.0.0:8081", which other machines can reach, and there is no key to ask them for: '
        'add keys = ["env:PROVIDERRANK_KEY"], or listen on 127.0.0.1.',
    ),
    (
        "more workers than there may be",
        "[gateway]\nworkers = 65\n" + MINIMAL,
        "2: gateway.workers is 65, and it counts processes, 1 to 64: write a number in that range.",
    ),
    (
        "negative weight",
        "[buyer]\nweights = { reputation = 1, price = -0.4 }\n" + MINIMAL,
        "2: buyer.weights.price is -0.4, and a weight is from 0 to 1: write a number in that range.",
    ),
    (
        "weights that do not sum to 1",
        "[buyer]\nweights = { reputation = 0.9, price = 0.9 }\n" + MINIMAL,
        "2: buyer.weights is 0.9 and 0.9, and weights sum to 1: "
        "in the same proportion that is { reputation = 0.5, price = 0.5 }.",
    ),
    (
        "weights of nothing",
        "[buyer]\nweights = { reputation = 0, price = 0 }\n" + MINIMAL,
        "2: buyer.weights is 0 and 0, and weights sum to 1: "
        "write { reputation = 0.6, price = 0.4 } or other shares of 1.",
    ),
    (
        "exploration past 1",
        "[buyer]\nexploration = 2\n" + MINIMAL,
        "2: buyer.exploration is 2, and a share of requests is from 0 to 1: write a number in that range.",
    ),
    (
        "hedging more than every request",
        "[buyer]\nhedge = 5\n" + MINIMAL,
        "2: buyer.hedge is 5, and a share of requests is from 0 to 1: write a number in that range.",
    ),
    (
        "a timeout of nothing",
        "[timeouts]\nconnect = 0\n" + MINIMAL,
        "2: timeouts.connect is 0, and a time limit is above 0: write it in seconds.",
    ),
    (
        "negative patience",
        "[timeouts]\npatience = -1\n" + MINIMAL,
        "2: timeouts.patience is -1, and a wait is 0 or more: write it in seconds.",
    ),
    (
        "a timeout in milliseconds",
        "[timeouts]\ntotal = 300000\n" + MINIMAL,
        "2: timeouts.total is 300000, more than a day: write seconds, not milliseconds.",
    ),
    (
        "unknown feature",
        MINIMAL + 'features = ["tols"]\n',
        '7: endpoints[0].features[0] is "tols", which is no feature: the nearest is "tools"; there are '
        + ", ".join(FEATURES)
        + ".",
    ),
    (
        "a context of nothing",
        MINIMAL + "context_window = 0\n",
        "7: endpoints[0].context_window is 0, and it counts tokens, 1 or more: write a number in that range.",
    ),
    (
        "tier named twice",
        MINIMAL + '[[tiers]]\nname = "high"\n[[tiers]]\nname = "high"\n',
        '10: tiers[1].name is "high", the name of tiers[0] already: rename one.',
    ),
    (
        "reputation past 1",
        MINIMAL + '[[tiers]]\nname = "high"\nmin_reputation = 85\n',
        "9: tiers[0].min_reputation is 85, and a reputation is from 0 to 1: write a number in that range.",
    ),
    (
        "tier weights",
        MINIMAL + '[[tiers]]\nname = "high"\nweights = { reputation = 0.1, price = 0.1 }\n',
        "9: tiers[0].weights is 0.1 and 0.1, and weights sum to 1: "
        "in the same proportion that is { reputation = 0.5, price = 0.5 }.",
    ),
    (
        "cap factor of nothing",
        MINIMAL + '[[tiers]]\nname = "high"\nprice_cap_factor = 0\n',
        "9: tiers[0].price_cap_factor is 0, and a factor is above 0: write a number in that range.",
    ),
    (
        "registry that is no address",
        MINIMAL + '[registry]\nurl = "here"\n',
        '8: registry.url is "here", not an address of an API: '
        'write http:// or https:// and a host, as in "https://api.example.com/v1".',
    ),
    (
        "store of an unknown kind",
        MINIMAL + '[engines]\nstore = "mysql://me:secret@db/x"\n',
        '8: engines.store is not a store this version knows: write "sqlite:///FILE" or "postgresql://USER@HOST/NAME".',
    ),
    (
        "TOML syntax",
        MINIMAL + "key = sk-something\n",
        "7: this is not TOML at column 7 (Invalid value): text goes in quotes, each key stands once.",
    ),
    (
        "TOML that does not end",
        "x = [1,\n2",
        "2: this is not TOML at the end of the file (Unclosed array): text goes in quotes, each key stands once.",
    ),
    (
        "a key twice",
        MINIMAL + 'model = "x"\n',
        "7: this is not TOML at column 12 (Cannot overwrite a value): text goes in quotes, each key stands once.",
    ),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_a_mistake_is_told_with_its_place_and_remedy(text: str, expected: str) -> None:
    lines = refuse(text, {**ENVIRON, "EMPTY": "", "BROKEN": "half\nother half"})

    assert lines == [f"providerrank.toml:{expected}"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """
[gateway]
listen = "nowhere"
kyes = []
[buyer]
price_cap = { input = 0.1, output = 0.1 }
exploration = "much"
[timeouts]
idle = 0
[[endpoints]]
id = "alpha/llama"
model = "llama"
base_url = "ftp://api.example.com"
key = "env:NOT_SET"
price = { input = 0.5, output = 1.5 }
[[endpoints]]
id = "alpha/llama"
model = "llama"
base_url = "https://api.example.com"
price = { input = -1, output = true }
features = ["flying"]
[[models]]
id = "llama"
pin = ["gamma/llama"]
fallback_models = ["llama", "qwen"]
[[tiers]]
weights = { reputation = 1, price = 1 }
"""
    lines = refuse(text.replace("input = -1", "input = 1"))

    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)
    assert set(numbers) == {3, 4, 7, 9, 13, 14, 17, 20, 21, 24, 25, 26, 27}
    assert numbers.count(25) == 2


def test_what_stands_in_for_a_misshapen_value_is_not_complained_about() -> None:
    lines = refuse(MINIMAL + 'upstream_model = ["x"]\nkey = 1\ncontext_window = "x"\n')

    assert len(lines) == 3


def test_a_misshapen_element_keeps_the_others_numbers() -> None:
    lines = refuse('endpoints = [ 1, { id = "a/b", model = "m", base_url = "x", price = {input=1, output=1} } ]')

    assert [line.split()[1] for line in lines] == ["endpoints[0]", "endpoints[1].base_url"]


def test_the_cap_may_lie_below_some_prices_of_a_model() -> None:
    accept(
        "[buyer]\nprice_cap = { input = 1, output = 1 }\n" + MINIMAL.replace("1.5", "0.5") + OTHER.replace("1.5", "1")
    )


def test_port_0_asks_for_any_free_port_so_both_may() -> None:
    accept('[gateway]\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n' + MINIMAL)


def test_ipv6_addresses_stand_in_brackets() -> None:
    accept('[gateway]\nlisten = "[::1]:8080"\nadmin = "localhost:8081"\n' + MINIMAL)


NOTES = [
    (
        '[probes]\nonly = ["alpha/llama"]\n' + MINIMAL,
        'probes.only[0] is "alpha/llama", which costs money and so is not probed: add paid = true, or remove it.',
    ),
    ('[gateway]\nlisten = "0.0.0.0:8080"\n' + MINIMAL, "gateway.listen is reachable from other machines"),
    (MINIMAL + 'key = "in-the-file"\n', "endpoints[0].key holds the secret itself"),
    (MINIMAL.replace("https", "http") + 'key = "env:CLIENT_KEY"\n', "endpoints[0].base_url is plain http"),
    (MINIMAL + '[registry]\nurl = "http://127.0.0.1:8090"\n', "registry.url is not used by this version"),
    (MINIMAL + '[engines]\nbus = "nats://127.0.0.1"\n', "engines.bus is not used by this version"),
    (MINIMAL + '[engines]\nstore = "postgresql://me:hidden@db/x"\n', "engines.store holds the secret itself"),
]


@pytest.mark.parametrize(("text", "expected"), NOTES, ids=[note[1].split()[0] for note in NOTES])
def test_what_is_allowed_but_probably_not_meant_is_noted(text: str, expected: str) -> None:
    [note] = accept(text).notes

    assert config.format_mistake(FILE, note).partition(": ")[2].startswith(expected)
    assert "hidden" not in note.sentence
    assert "in-the-file" not in note.sentence


def test_a_key_that_nothing_is_cheap_enough_for_is_noted() -> None:
    loaded = accept(KEY + "price_cap = { input = 0.1, output = 0.1 }\n")
    [note] = loaded.notes
    assert (note.path, note.line) == (("keys", 0, "price_cap"), 10)
    assert "nothing will be served" in note.sentence
    assert accept(KEY + "price_cap = { input = 0.5, output = 1.5 }\n").notes == ()


def test_with_named_keys_alone_other_machines_may_call() -> None:
    assert accept('[gateway]\nlisten = "0.0.0.0:8080"\n' + KEY).notes == ()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('otlp = "collector:4318"', "telemetry.otlp is "),
        ('otlp = "http://collector:4318/v1/traces"', "telemetry.otlp is "),
        ("sample = 1.5", "telemetry.sample is 1.5, and a share of requests is from 0 to 1"),
        ('headers = { "bad name" = "env:CLIENT_KEY" }', 'telemetry.headers."bad name" is "bad name", which is no name'),
        ('headers = { a = "env:NOT_SET_ANYWHERE" }', "telemetry.headers.a "),
        ("headers = { a = 3 }", "telemetry.headers.a is "),
        ("headers = 3", "telemetry.headers is a number where a table belongs: write headers = "),
        ("otel = 3", "telemetry.otel is not a known key: did you mean `otlp`?"),
    ],
)
def test_mistakes_of_telemetry(lines: str, expected: str) -> None:
    told = refuse(f"{MINIMAL}\n[telemetry]\n{lines}\n", ENVIRON)
    assert any(expected in line for line in told), told


def test_telemetry_as_it_is_written() -> None:
    text = (
        '\n[telemetry]\notlp = "http://collector:4318"\nsample = 0.1\nheaders = { authorization = "env:CLIENT_KEY" }\n'
    )
    loaded = config.parse(MINIMAL + text, Path("providerrank.toml"), ENVIRON)
    telemetry = loaded.config.telemetry
    assert (telemetry.otlp, telemetry.sample, telemetry.service) == ("http://collector:4318", 0.1, "providerrank")
    assert loaded.reveal(telemetry.headers["authorization"]) == ENVIRON["CLIENT_KEY"]
    assert ENVIRON["CLIENT_KEY"] not in repr(telemetry)
    assert loaded.notes == ()


def test_telemetry_without_a_collector_is_noted() -> None:
    loaded = config.parse(MINIMAL + "\n[telemetry]\nsample = 0.5\n", Path("providerrank.toml"), ENVIRON)
    [note] = loaded.notes
    assert note.sentence.startswith("sends nothing without a collector")
