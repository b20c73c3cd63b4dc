"""Use models that others published: find their weights, fetch them when asked to, and make checkpoints of them.

May import: grain.checkpoint, grain.command, grain.config, grain.preprocess, grain.structures, grain.time_limit.
"""
