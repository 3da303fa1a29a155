"""The data plane: sockets to attempts to sockets."""
