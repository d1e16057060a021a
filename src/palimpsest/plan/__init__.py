"""What a params file requires, before anything runs: tokens, FLOPs, GPU hours, wall time and disk."""
