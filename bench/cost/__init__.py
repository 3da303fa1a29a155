"""What a request costs through this gateway and through others: see `__main__`."""
