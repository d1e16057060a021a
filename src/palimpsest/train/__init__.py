"""Staged training with replay and Reptile."""
