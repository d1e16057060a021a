"""Held-out losses, zero-shot tasks, continual-learning metrics, and scaling laws of the checkpoints."""
