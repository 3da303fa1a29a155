"""Listening sockets for several workers at one address."""

from __future__ import annotations

import socket

from providerrank.gateway.listening import BACKLOG


def open_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """Open ``count`` sockets that all listen on one address; port 0 takes any free one. Raises OSError.

    Connections go to one of them by a hash of their addresses (SO_REUSEPORT), whoever accepts there or not.
    """
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name like localhost may mean both kinds of address; every client that knows it tries the older one too.
    family, kind, protocol, _, address = min(infos, key=lambda info: info[0] != socket.AF_INET)
    # Sockets that share an address join whoever shares it already, another gateway too: so ask for it alone first.
    _bind(family, kind, protocol, address, shared=False).close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(_bind(family, kind, protocol, address, shared=True))
            address = sockets[0].getsockname()
        for one in sockets:
            one.listen(BACKLOG)
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets


def _bind(family: int, kind: int, protocol: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one
