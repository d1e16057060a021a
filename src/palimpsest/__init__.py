"""Palimpsest: train a language model on one language after another without forgetting the earlier ones."""

__version__ = "0.1.0"
