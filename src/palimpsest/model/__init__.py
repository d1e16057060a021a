"""The language model: its architecture, its files, its cost, and the devices that it runs on.

Nothing is imported here: ``flops`` and ``devices`` serve the planner, which needs no torch.
"""
