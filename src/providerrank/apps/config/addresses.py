"""Addresses as they are written: of a listener, and of an API."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from providerrank.apps.config.mistakes import show


def parse_address(written: str) -> tuple[str, int]:
    """Split ``host:port``, brackets around IPv6; raises ``ValueError`` with a phrase that says what is wrong."""
    host, colon, port = written.rpartition(":")
    if not colon or not host:
        msg = "an address is host:port"
        raise ValueError(msg)
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        msg = "a port is a number from 0 to 65535"
        raise ValueError(msg)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif ":" in host:
        msg = "an IPv6 address stands in brackets"
        raise ValueError(msg)
    elif not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host):
        msg = "a host is a name or an IP address"
        raise ValueError(msg)
    elif re.fullmatch(r"[0-9.]+", host):
        ipaddress.IPv4Address(host)
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_url_problem(written: str) -> str | None:
    """Return what is wrong with an http address, with the remedy; a password in it is not repeated."""
    example = 'as in "https://api.example.com/v1"'
    try:
        url = urlsplit(written)
        hidden = url.username is not None or url.password is not None
        host, port = url.hostname, url.port
    except ValueError:
        return f"is not an address (its host or port makes no sense): write http:// or https:// and a host, {example}."
    if hidden or url.query or url.fragment:
        part = "a user name or password" if hidden else "something after ? or #"
        return f"has {part} in it: leave that out, keys go in key, {example}."
    if any(character.isspace() or not character.isprintable() for character in written) or not written.isascii():
        return f"has a blank, a line break or a letter outside ASCII in it: write a plain address, {example}."
    if url.scheme not in {"http", "https"} or not host:
        shown = "text" if "@" in written else show(written)
        return f"is {shown}, not an address of an API: write http:// or https:// and a host, {example}."
    if port == 0:
        return f"is {show(written)}, and no server has port 0: write the port it listens on, {example}."
    return None
