"""Bytes to values and back, sans-I/O."""
