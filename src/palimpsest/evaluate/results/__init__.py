"""What evaluation writes under results/, as typed values: one schema for whoever writes or reads these files.

Nothing here imports torch or numpy, so that a reader of results starts at once.
"""
