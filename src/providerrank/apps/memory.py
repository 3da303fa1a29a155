"""Memory that large answers took goes back to the system as soon as they are gone.

glibc serves large blocks by mappings of their own, which it gives back when they are freed; but each one freed raises
the size from which it does so, up to 32 MB, and what is smaller stays in the heap under whatever was allocated
after it. One answer of 80 MB left a process 90 MB larger for good. A size that is set is not raised.
"""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
"""Of ``mallopt``, as malloc.h has it."""

LARGE_BYTES = 128 * 1024
"""From here on a block is a mapping of its own: glibc's first default. A read of a socket is one where it is full."""


def keep_large_blocks_apart() -> bool:
    """Hold glibc to ``LARGE_BYTES`` for the life of this process; False where the allocator is another."""
    try:
        return bool(ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES))
    except (AttributeError, OSError, TypeError):
        return False
