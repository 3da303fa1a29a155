"""Whatever a file holds: its secrets are never repeated, and every line found is the right one."""

from __future__ import annotations

import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from providerrank.apps import config
from providerrank.apps.config import KeyPath
from providerrank.apps.config.lines import Lines

FILE = Path("providerrank.toml")

# Nothing in a message can hold this by chance.
SECRET = st.text("XYZ789", min_size=12, max_size=20).map(lambda text: f"sk{text}")

BAD_ENDINGS = st.sampled_from(["", " ", "\\n", "é", "\\u0000", "@", ":", "/"])


def quote(text: str) -> str:
    return f'"{text}"'


@st.composite
def files_with_secrets(draw: st.DrawFn) -> tuple[str, list[str], dict[str, str]]:
    """Files right and wrong, with a secret in every place made for one, in the file or in the environment."""
    secrets = draw(st.lists(SECRET, min_size=6, max_size=6, unique=True))
    upstream, client, listed, password, token, kept = secrets
    upstream_written = draw(
        st.sampled_from(
            [
                quote(upstream),
                '"env:UPSTREAM"',
                f"[{quote(upstream)}]",
                f"{{ value = {quote(upstream)} }}",
                "5",
                "'env: x'",
            ]
        )
    )
    keys_written = draw(
        st.sampled_from([f"[{quote(listed)}]", quote(listed), '["env:CLIENT"]', f"[[{quote(listed)}]]", "[1]"])
    )
    url = draw(
        st.sampled_from(
            [
                f"https://me:{password}@api.example.com/v1",
                f"https://{password}@api.example.com",
                f"https://api.example.com/v1?key={token}",
                f"https://api.example.com/v1#{token}",
                f"me:{password}@api.example.com",
                f"//me:{password}@[api",
                f"https://me:{password}@api.example.com:x",
                "https://api.example.com/v1",
            ]
        )
    )
    store = draw(st.sampled_from([f"postgresql://me:{kept}@db/x", f"mysql://me:{kept}@db", f"me:{kept}", "env:STORE"]))
    unknown = draw(st.sampled_from(["", f"api_key = {quote(token)}", f"token = [{quote(token)}]"]))
    price = draw(st.sampled_from(["{ input = 1, output = 1 }", "{ input = -1, output = 1 }", "3"]))
    ending = draw(BAD_ENDINGS)
    text = f"""
[gateway]
keys = {keys_written}
[[endpoints]]
id = "alpha/llama"
model = "llama"
base_url = "{url}"
price = {price}
key = {upstream_written}
{unknown}
[engines]
store = "{store}"
bus = {quote(kept)}
"""
    if draw(st.booleans()):
        text = text.replace("[[endpoints]]", "[endpoints]")
    environ = {"UPSTREAM": upstream + ending, "CLIENT": client + ending, "STORE": f"mysql://me:{kept}@db"}
    if draw(st.booleans()):
        del environ["CLIENT"]
    return text, secrets, environ


@given(files_with_secrets())
def test_no_message_repeats_a_secret(case: tuple[str, list[str], dict[str, str]]) -> None:
    text, secrets, environ = case

    try:
        loaded = config.parse(text, FILE, environ)
    except config.ConfigRefused as refused:
        shown = f"{refused} {refused!r} {refused.mistakes!r}"
        assert refused.mistakes
    else:
        shown = f"{loaded!r} {loaded.config!r} {loaded.notes!r}"

    for secret in secrets:
        assert secret not in shown


SCALARS = st.sampled_from(
    ["1", "-2.5", "true", "2026-01-01", '"a # b"', "'c ] }'", '"""d\n" # ""\n"""', "'''e\n'f'\n'''", r'"\" = ["', '""']
)
NAMES = st.sampled_from(["a", "b-c", '"d e"', "'f.g'", "h . i", '"j\\"k"'])


@st.composite
def toml_values(draw: st.DrawFn, depth: int = 2) -> str:
    kind = draw(st.sampled_from(["scalar", "array", "table"])) if depth else "scalar"
    if kind == "array":
        items = draw(st.lists(toml_values(depth - 1), max_size=3))
        blank = draw(st.sampled_from(["", " ", "\n  ", " # note ]\n"]))
        return f"[{blank}" + f",{blank}".join(items) + f"{blank}]"
    if kind == "table":
        keys = draw(st.lists(NAMES, max_size=3, unique=True))
        return "{ " + ", ".join(f"{key} = {draw(toml_values(depth - 1))}" for key in keys) + " }"
    return draw(SCALARS)


@st.composite
def toml_texts(draw: st.DrawFn) -> str:
    lines = [f"{key} = {draw(toml_values())}" for key in draw(st.lists(NAMES, max_size=3, unique=True))]
    for number in range(draw(st.integers(0, 3))):
        header = draw(st.sampled_from([f"[t{number}]", "[[list]]", "[[list]]\n[list.sub]", "[[list]]\n[[list.deep]]"]))
        lines.append(f"{header} # note\n")
        lines += [f"{key}={draw(toml_values())}  # note" for key in draw(st.lists(NAMES, max_size=3, unique=True))]
    return "\n".join(lines)


def list_paths(value: object, path: KeyPath = ()) -> set[KeyPath]:
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, item in value.items():
            found |= list_paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found |= list_paths(item, (*path, index))
    return found


@given(toml_texts())
def test_every_place_of_a_text_is_found_and_no_other(text: str) -> None:
    parsed = tomllib.loads(text)

    assert Lines(text).paths() == list_paths(parsed)


@given(st.lists(toml_values(), max_size=5))
def test_a_key_is_on_the_line_it_was_written_on(values: list[str]) -> None:
    text = ""
    expected = {}
    for number, value in enumerate(values):
        expected[f"k{number}"] = text.count("\n") + 1
        text += f"k{number} = {value}\n"

    lines = Lines(text)

    assert {key: lines.find((key,)) for key in expected} == expected


@given(st.text())
def test_any_text_at_all_is_accepted_or_refused_in_words(text: str) -> None:
    try:
        config.parse(text, FILE, {})
    except config.ConfigRefused as refused:
        assert str(refused).startswith("providerrank.toml")
