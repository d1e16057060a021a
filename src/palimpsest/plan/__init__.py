"""The cost of a params file before anything runs: tokens, FLOPs, GPU hours, wall time and disk."""
