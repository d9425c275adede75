"""Pure rules: no I/O, no clock, no randomness; now, ids and jitter arrive as arguments."""
