"""Configuration files: a helper for the tests that need one, whatever of it they are about."""

from __future__ import annotations

from pathlib import Path

URL = "https://api.example.com/v1"
NOWHERE = "http://127.0.0.1:1/v1"
"""An address of this machine where nobody listens."""


def write_endpoint(
    name: str = "alpha",
    *lines: str,
    model: str = "llama",
    url: str = URL,
    price: tuple[float, float] = (0.5, 1.5),
) -> str:
    """The table of ``name/model``; ``price`` in USD per million tokens, ``lines`` are further keys of it."""
    table = (
        "[[endpoints]]",
        f'id = "{name}/{model}"',
        f'model = "{model}"',
        f'base_url = "{url}"',
        f"price = {{ input = {price[0]:g}, output = {price[1]:g} }}",
    )
    return "\n" + "\n".join((*table, *lines)) + "\n"


def write_gateway(*lines: str, listen: str = "127.0.0.1:0", admin: str = "127.0.0.1:0") -> str:
    """The table of a gateway on any free ports; ``lines`` are further keys of it, and may begin other tables."""
    return "\n" + "\n".join(("[gateway]", f'listen = "{listen}"', f'admin = "{admin}"', *lines)) + "\n"


def write_file(folder: Path, *tables: str) -> Path:
    """``providerrank.toml`` in a folder."""
    path = folder / "providerrank.toml"
    path.write_text("".join(tables))
    return path
