"""The loss matrix and what follows from it."""
