"""Define the model: towers, decoder and heads, and load its checkpoints for a Predictor.

May import: grain.boxes, grain.checkpoint, grain.command, grain.config, grain.data, grain.hardware,
grain.preprocess, grain.structures, grain.time_limit.
"""
