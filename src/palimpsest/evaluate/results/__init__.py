"""The schema of the files that evaluation writes under results/: dataclasses with their readers and writers.

Nothing here imports torch or numpy, so that readers of results start fast.
"""
