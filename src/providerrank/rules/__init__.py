"""The rules everyone agreed on: pure values and functions, no I/O, no clock, no randomness but what is passed in."""
