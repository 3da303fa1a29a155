"""Implementations of the ports that services own: stores, buses, chains."""
