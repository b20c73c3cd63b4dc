"""Use models that others published: find their weights, fetch them when asked to, and make checkpoints of them.

May import: grain.boxes, grain.checkpoint, grain.command, grain.config, grain.hardware, grain.model,
grain.recent_features, grain.structures, grain.time_limit.
"""
