"""Several processes that serve one address, and the one that minds them.

``crew`` runs in the process that was started: it owns the store, the admin port and a router that learns from all.
Each worker (``process``) is a fresh interpreter with a data plane and nothing else. They speak over socket pairs:
``frames`` are the bytes, ``messages`` what is said, ``link`` moves them.
"""
